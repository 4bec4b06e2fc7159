#include "serve/stop_text.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace rapt {

StopText::StopText(const Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
                   std::vector<std::string> stops)
    : stream_(tokenizer), stops_(std::move(stops)) {
  for (const std::int32_t token : prompt) stream_.push(token);
}

std::string StopText::finish() {
  std::string text = take(stream_.finish());
  return stopped_ ? text : text + std::exchange(held_, {});
}

std::string StopText::take(const std::string& text) {
  if (stopped_) return {};
  held_ += text;
  std::size_t end = std::string::npos;
  for (const std::string& stop : stops_) end = std::min(end, held_.find(stop));
  stopped_ = end != std::string::npos;
  if (!stopped_) end = possible_stop();
  std::string certain = held_.substr(0, end);
  held_.erase(0, end);
  return certain;
}

/// Where the longest end of the text begins that a stop string may begin with.
std::size_t StopText::possible_stop() const {
  const std::string_view held = held_;
  for (std::size_t at = 0; at < held.size(); ++at)
    for (const std::string& stop : stops_)
      if (stop.starts_with(held.substr(at))) return at;
  return held.size();
}

}  // namespace rapt
