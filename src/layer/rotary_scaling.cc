#include "layer/rotary_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "base/check.h"
#include "base/elementary.h"
#include "layer/rotary_power.h"

// A step of torch on an f32 tensor and a Python number, which is f64, rounds the number to f32: a
// cast Real(x) below. And torch's number / tensor is (1 / tensor) times the number.

namespace rapt {
namespace {

constexpr double kMostTheta = 1e30;  // its powers, and products with them, are f32 numbers

template <class Real>
std::vector<Real> plain(double theta, std::int64_t dims) {
  std::vector<Real> f = rotary_powers(static_cast<Real>(theta), dims);
  for (Real& each : f) each = 1 / each;
  return f;
}

template <class Real>
std::vector<Real> scaled(std::monostate, const RotaryConfig& c, std::int64_t) {
  return plain<Real>(c.theta, c.dims);
}

template <class Real>
std::vector<Real> scaled(const LinearScaling& s, const RotaryConfig& c, std::int64_t) {
  std::vector<Real> f = plain<Real>(c.theta, c.dims);
  for (Real& each : f) each /= static_cast<Real>(s.factor);
  return f;
}

double theta_of(const DynamicNtkScaling& s, const RotaryConfig& c, double length) {
  const auto dims = static_cast<double>(c.dims), context = static_cast<double>(s.original_context);
  const double tokens = std::max(length, context);
  const double stretch = s.factor * tokens / context - (s.factor - 1);
  const double theta = c.theta * elementary::pow(stretch, dims / (dims - 2));
  require(theta <= kMostTheta, ErrorCode::kBadArgument, "DynamicNtkScaling",
          "a scaled theta up to 1e30", theta);
  return theta;
}

template <class Real>
std::vector<Real> scaled(const DynamicNtkScaling& s, const RotaryConfig& c, std::int64_t length) {
  return plain<Real>(theta_of(s, c, static_cast<double>(length)), c.dims);
}

/// The pair, as a real number, that turns `turns` times in the original context.
double pair_of(double turns, const YarnScaling& s, const RotaryConfig& c) {
  const double wavelength =
      static_cast<double>(s.original_context) / (turns * 2 * std::numbers::pi);
  return static_cast<double>(c.dims) * elementary::log(wavelength) / (2 * elementary::log(c.theta));
}

template <class Real>
std::vector<Real> scaled(const YarnScaling& s, const RotaryConfig& c, std::int64_t) {
  double low = pair_of(s.beta_fast, s, c), high = pair_of(s.beta_slow, s, c);
  if (s.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(c.dims - 1));
  if (low == high) high += 0.001;
  std::vector<Real> f = rotary_powers(static_cast<Real>(c.theta), c.dims);
  for (std::size_t i = 0; i < f.size(); ++i) {
    const Real slope =
        (static_cast<Real>(i) - static_cast<Real>(low)) / static_cast<Real>(high - low);
    const Real stays = 1 - std::clamp(slope, Real{0}, Real{1});
    const Real interpolated = 1 / (static_cast<Real>(s.factor) * f[i]), extrapolated = 1 / f[i];
    f[i] = interpolated * (1 - stays) + extrapolated * stays;
  }
  return f;
}

template <class Real>
std::vector<Real> scaled(const Llama3Scaling& s, const RotaryConfig& c, std::int64_t) {
  const auto context = static_cast<double>(s.original_context);
  const auto factor = static_cast<Real>(s.factor), low = static_cast<Real>(s.low_freq_factor);
  const auto longest = static_cast<Real>(context / s.low_freq_factor),
             shortest = static_cast<Real>(context / s.high_freq_factor);
  std::vector<Real> f = plain<Real>(c.theta, c.dims);
  for (Real& each : f) {
    const Real wavelength = 1 / each * static_cast<Real>(2 * std::numbers::pi);
    const Real smooth = (1 / wavelength * static_cast<Real>(context) - low) /
                        static_cast<Real>(s.high_freq_factor - s.low_freq_factor);
    if (wavelength > longest)
      each /= factor;
    else if (!(wavelength < shortest))
      each = (1 - smooth) * each / factor + smooth * each;
  }
  return f;
}

template <class Real>
std::vector<Real> scaled(const LongRopeScaling& s, const RotaryConfig& c, std::int64_t length) {
  const std::vector<double>& e = length > s.original_context ? s.long_factor : s.short_factor;
  std::vector<Real> f = rotary_powers(static_cast<Real>(c.theta), c.dims);
  for (std::size_t i = 0; i < f.size(); ++i) f[i] = 1 / (static_cast<Real>(e[i]) * f[i]);
  return f;
}

double attention_factor(const YarnScaling& s) {
  const auto m = [&](double weight) {
    return s.factor <= 1 ? 1.0 : 0.1 * weight * elementary::log(s.factor) + 1.0;
  };
  if (s.attention_factor) return *s.attention_factor;
  if (s.mscale != 0 && s.mscale_all_dim != 0) return m(s.mscale) / m(s.mscale_all_dim);
  return m(1);
}

double attention_factor(const LongRopeScaling& s) {
  if (s.attention_factor) return *s.attention_factor;
  if (s.factor <= 1) return 1;
  return std::sqrt(1 + elementary::log(s.factor) /
                           elementary::log(static_cast<double>(s.original_context)));
}

template <class Scaling>
double attention_factor(const Scaling&) {
  return 1;
}

template <class Real>
RotaryFrequencies frequencies(const RotaryConfig& config, std::int64_t length) {
  return std::visit(
      [&](const auto& scaling) {
        const std::vector<Real> f = scaled<Real>(scaling, config, length);
        return RotaryFrequencies{{f.begin(), f.end()}, attention_factor(scaling)};
      },
      config.scaling);
}

/// Checks of the fields of one kind.
class Checker {
 public:
  explicit Checker(const char* kind) : kind_(kind) {}

  void factor(double value) const { range("factor", value, 1, 1e6); }
  void context(std::int64_t value, std::int64_t least = 1) const {
    that(value >= least && value <= std::int64_t{1} << 40, "original_context",
         std::to_string(least) + " to 2^40", value);
  }
  void attention(const std::optional<double>& value) const {
    if (value) range("attention_factor", *value, 1e-6, 1e6);
  }
  void range(const char* field, double value, double low, double high) const {
    std::ostringstream expected;
    expected << low << " to " << high;
    that(value >= low && value <= high, field, expected.str(), value);
  }
  template <class Got>
  void that(bool ok, const char* field, const std::string& expected, const Got& got) const {
    require(ok, ErrorCode::kBadArgument, kind_ + "." + field, expected, got);
  }

 private:
  std::string kind_;
};

void check(std::monostate, const RotaryConfig&) {}

void check(const LinearScaling& s, const RotaryConfig&) {
  Checker("LinearScaling").factor(s.factor);
}

void check(const DynamicNtkScaling& s, const RotaryConfig& c) {
  const Checker check("DynamicNtkScaling");
  check.factor(s.factor);
  check.context(s.original_context);
  check.that(c.dims > 2, "dims", "more than 2", c.dims);
  theta_of(s, c, s.factor * static_cast<double>(s.original_context));  // the longest it is for
}

void check(const YarnScaling& s, const RotaryConfig& c) {
  const Checker check("YarnScaling");
  check.factor(s.factor);
  check.context(s.original_context);
  check.range("beta_slow", s.beta_slow, 1e-6, 1e6);
  check.range("beta_fast", s.beta_fast, s.beta_slow, 1e6);
  check.range("mscale", s.mscale, 0, 1e6);
  check.range("mscale_all_dim", s.mscale_all_dim, 0, 1e6);
  check.attention(s.attention_factor);
  check.that(c.theta > 1, "theta", "more than 1", c.theta);
}

void check(const Llama3Scaling& s, const RotaryConfig&) {
  const Checker check("Llama3Scaling");
  check.factor(s.factor);
  check.context(s.original_context);
  check.range("low_freq_factor", s.low_freq_factor, 1e-6, 1e6);
  check.that(s.high_freq_factor > s.low_freq_factor && s.high_freq_factor <= 1e6,
             "high_freq_factor", "more than low_freq_factor, up to 1e6", s.high_freq_factor);
}

void check(const LongRopeScaling& s, const RotaryConfig& c) {
  const Checker check("LongRopeScaling");
  check.range("factor", s.factor, 1e-6, 1e6);
  check.context(s.original_context, 2);
  check.attention(s.attention_factor);
  for (const auto& [field, list] :
       {std::pair("short_factor", &s.short_factor), {"long_factor", &s.long_factor}}) {
    check.that(std::ssize(*list) == c.dims / 2, field, std::to_string(c.dims / 2) + " numbers",
               list->size());
    for (const double each : *list) check.range(field, each, 1e-6, 1e6);
  }
}

}  // namespace

const char* name(const RotaryScaling& scaling) {
  static constexpr const char* kNames[] = {"default", "linear", "dynamic",
                                           "yarn",    "llama3", "longrope"};
  static_assert(std::size(kNames) == std::variant_size_v<RotaryScaling>);
  return kNames[scaling.index()];
}

void check_rotary(const RotaryConfig& c) {
  require(c.dims > 0 && c.dims % 2 == 0 && c.dims <= std::int64_t{1} << 31, ErrorCode::kBadArgument,
          "Rotary.dims", "a positive even number", c.dims);
  require(c.theta >= 1 && c.theta <= kMostTheta, ErrorCode::kBadArgument, "Rotary.theta",
          "1 to 1e30", c.theta);
  std::visit([&](const auto& scaling) { check(scaling, c); }, c.scaling);
}

RotaryFrequencies rotary_frequencies(const RotaryConfig& config, std::int64_t length) {
  return config.precision == RotaryPrecision::kF64 ? frequencies<double>(config, length)
                                                   : frequencies<float>(config, length);
}

bool is_beyond(const RotaryScaling& scaling, std::int64_t length) {
  if (const auto* dynamic = std::get_if<DynamicNtkScaling>(&scaling))
    return length > dynamic->original_context;
  if (const auto* longrope = std::get_if<LongRopeScaling>(&scaling))
    return length > longrope->original_context;
  return false;
}

}  // namespace rapt
