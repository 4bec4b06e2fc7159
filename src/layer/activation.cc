#include "rapt/activation.h"

#include <type_traits>

#include "kernels/activation/activation.h"
#include "layer/each_row.h"

namespace rapt {

constexpr std::size_t kActivations = static_cast<std::size_t>(Activation::kRelu) + 1;
static_assert(std::extent_v<decltype(ActivationKernels::plain)> == kActivations);
static_assert(std::extent_v<decltype(ActivationKernels::gated)> == kActivations);

void activate(const Threads& threads, Activation f, const ConstTensor& x,
              const MutableTensor& out) {
  check_extents(x, "activate.x");
  check_same(out, x.extents, "activate.out");
  const auto kernel = activation_kernels(active_isa()).plain[static_cast<std::size_t>(f)];
  for_each_row(threads, x.extents, [&](std::int64_t row) {
    kernel(strided_row(x, row), strided_row(out, row), x.extents[3]);
  });
}

void activate_gated(const Threads& threads, Activation f, const ConstTensor& gate,
                    const ConstTensor& up, const MutableTensor& out) {
  check_extents(gate, "activate_gated.gate");
  check_same(up, gate.extents, "activate_gated.up");
  check_same(out, gate.extents, "activate_gated.out");
  const auto kernel = activation_kernels(active_isa()).gated[static_cast<std::size_t>(f)];
  for_each_row(threads, gate.extents, [&](std::int64_t row) {
    kernel(strided_row(gate, row), strided_row(up, row), strided_row(out, row), gate.extents[3]);
  });
}

}  // namespace rapt
