#pragma once

namespace rapt {

/// Round to nearest, no flush to zero and no trap, for as long as the object lives; then the
/// caller's floating-point environment again. Every worker holds one: the canonical order needs it.
class CanonicalFloatEnv {
 public:
  CanonicalFloatEnv() noexcept;
  ~CanonicalFloatEnv();
  CanonicalFloatEnv(const CanonicalFloatEnv&) = delete;
  CanonicalFloatEnv& operator=(const CanonicalFloatEnv&) = delete;

 private:
  unsigned long saved_;
};

}  // namespace rapt
