#include "base/float_env.h"

#include "base/float_control.h"

namespace rapt {

CanonicalFloatEnv::CanonicalFloatEnv() noexcept : saved_(float_control()) {
  set_float_control(kCanonicalFloatControl);
}
CanonicalFloatEnv::~CanonicalFloatEnv() { set_float_control(saved_); }

}  // namespace rapt
