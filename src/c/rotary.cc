#include "rapt/rotary.h"

#include "c/convert.h"

namespace rapt::c {
namespace {

std::optional<double> optional_of(double x) {
  return x == 0 ? std::nullopt : std::optional<double>(x);
}

RotaryScaling scaling_of(const rapt_rotary_config& from) {
  const auto list = [&](const double* factors, const char* where) {
    return values_of(factors, from.dims / 2, where);
  };
  switch (from.scaling) {
    case RAPT_SCALING_NONE:
      return {};
    case RAPT_SCALING_LINEAR:
      return LinearScaling{from.factor};
    case RAPT_SCALING_DYNAMIC:
      return DynamicNtkScaling{from.factor, from.original_context};
    case RAPT_SCALING_YARN:
      return YarnScaling{.factor = from.factor,
                         .original_context = from.original_context,
                         .beta_fast = from.beta_fast == 0 ? 32.0 : from.beta_fast,
                         .beta_slow = from.beta_slow == 0 ? 1.0 : from.beta_slow,
                         .truncate = from.untruncated == 0,
                         .mscale = from.mscale,
                         .mscale_all_dim = from.mscale_all_dim,
                         .attention_factor = optional_of(from.attention_factor)};
    case RAPT_SCALING_LLAMA3:
      return Llama3Scaling{from.factor, from.low_freq_factor == 0 ? 1.0 : from.low_freq_factor,
                           from.high_freq_factor == 0 ? 4.0 : from.high_freq_factor,
                           from.original_context};
    case RAPT_SCALING_LONGROPE:
      return LongRopeScaling{list(from.short_factor, "rapt_rotary_config.short_factor"),
                             list(from.long_factor, "rapt_rotary_config.long_factor"), from.factor,
                             from.original_context, optional_of(from.attention_factor)};
    default:
      throw Error(ErrorCode::kBadArgument, "rapt_rotary_config.scaling: expected 0 to 5, got " +
                                               std::to_string(from.scaling));
  }
}

Rotary rotary_of(const rapt_rotary_config* config) {
  const rapt_rotary_config from = read_struct(config, "rapt_rotary_config");
  require(from.style == RAPT_ROTARY_HALF || from.style == RAPT_ROTARY_INTERLEAVED,
          ErrorCode::kBadArgument, "rapt_rotary_config.style", "0 (half) or 1 (interleaved)",
          from.style);
  RotaryConfig made;
  made.dims = from.dims;
  if (from.theta != 0) made.theta = from.theta;
  made.style = from.style == RAPT_ROTARY_HALF ? RotaryStyle::kHalf : RotaryStyle::kInterleaved;
  made.precision = from.exact == 0 ? RotaryPrecision::kF32 : RotaryPrecision::kF64;
  const Rotary plain(made);  // before lists are read whose length R is
  made.scaling = scaling_of(from);
  return Rotary(made);
}

}  // namespace
}  // namespace rapt::c

rapt_status rapt_rotary_table_create(const rapt_rotary_config* config, const int64_t* positions,
                                     int64_t count, const int64_t* lengths, int64_t length_count,
                                     rapt_rotary_table** out) {
  return rapt::c::create("rapt_rotary_table_create out", out, [&] {
    return rapt::c::rotary_of(config).table(
        rapt::c::values_of(positions, count, "rapt_rotary_table_create positions"),
        rapt::c::values_of(lengths, length_count, "rapt_rotary_table_create lengths"));
  });
}

rapt_status rapt_rotary_apply(const rapt_rotary_table* table, const rapt_threads* threads,
                              const rapt_tensor* x, const rapt_tensor* y) {
  return rapt::c::guard([&] {
    const char *const of_x = "rapt_rotary_apply x", *const of_y = "rapt_rotary_apply y";
    rapt::apply_rotary(rapt::c::threads_of(threads, "rapt_rotary_apply threads"),
                       rapt::c::value_of(table, "rapt_rotary_apply table"),
                       rapt::c::filled_f32_of(rapt::c::given(x, of_x), of_x),
                       rapt::c::filled_f32_of(rapt::c::given(y, of_y), of_y));
  });
}

void rapt_rotary_table_destroy(rapt_rotary_table* table) { delete table; }
