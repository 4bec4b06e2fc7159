// What batches and shared prefixes save, as the table of docs/performance.md: serving MODEL.
//
// Every way runs the same requests of random tokens, which have the same bits in all of them; ways take
// turns, and the fastest of five counts.

#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/splitmix64.h"
#include "rapt/engine.h"
#include "rapt/error.h"

namespace {

using namespace rapt;

constexpr int kRequests = 32, kRepeats = 5;
constexpr std::int64_t kShared = 384, kOwn = 16;

std::vector<std::int32_t> random_tokens(std::int64_t count, std::uint64_t seed,
                                        const Model& model) {
  const auto vocab = static_cast<std::uint64_t>(model.config().vocab_size);
  std::vector<std::int32_t> tokens;
  for (std::uint64_t n = 0; std::ssize(tokens) < count; ++n) {
    const auto token = static_cast<std::int32_t>(splitmix64(seed, n) % vocab);
    if (!model.config().ends_text(token)) tokens.push_back(token);
  }
  return tokens;
}

Request request_of(std::vector<std::int32_t> prompt, std::int64_t new_tokens, std::uint64_t seed) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_new_tokens = new_tokens;
  request.sampler.temperature = 1;
  request.sampler.seed = seed;
  return request;
}

/// Prompts of 16 to 263 tokens, 32 to 95 new ones.
std::vector<Request> mixed_requests(const Model& model) {
  std::vector<Request> requests;
  for (std::uint64_t n = 0; n < kRequests; ++n)
    requests.push_back(
        request_of(random_tokens(16 + static_cast<std::int64_t>(splitmix64(1, n) % 248), n, model),
                   32 + static_cast<std::int64_t>(splitmix64(2, n) % 64), n));
  return requests;
}

/// Prompts that begin with the same tokens, and end so if `own` is 0.
std::vector<Request> alike_requests(const Model& model, int count, std::int64_t own) {
  std::vector<Request> requests;
  for (int n = 0; n < count; ++n) {
    std::vector<std::int32_t> prompt = random_tokens(kShared, 1000, model);
    const auto end = random_tokens(own, 2000 + static_cast<std::uint64_t>(n), model);
    prompt.insert(prompt.end(), end.begin(), end.end());
    requests.push_back(request_of(std::move(prompt), own == 0 ? 1 : 8, 7));
  }
  return requests;
}

struct Run {
  double seconds;
  EngineMetrics metrics;
};

/// Requests by an engine of their own, together or each when the one before has ended.
Run run(const Model& model, const std::vector<Request>& requests, bool together, bool reuse) {
  EngineConfig config;
  config.threads = Threads(static_cast<int>(std::thread::hardware_concurrency()));
  config.reuse_prefixes = reuse;
  Engine engine(model, config);
  const auto finish = [&] {
    while (engine.busy())
      for (const Event& event : engine.step())
        if (event.finish == FinishReason::kError) throw Error(ErrorCode::kBadArgument, event.error);
  };
  const double seconds = seconds_of([&] {
    for (const Request& request : requests) {
      engine.submit(request);
      if (!together) finish();
    }
    finish();
  });
  return {seconds, engine.metrics()};
}

/// The fastest run of each way, which take turns.
std::vector<Run> fastest(const std::vector<std::function<Run()>>& ways) {
  std::vector<Run> best(ways.size(), {std::numeric_limits<double>::infinity(), {}});
  for (int repeat = 0; repeat < kRepeats; ++repeat)
    for (std::size_t n = 0; n < ways.size(); ++n) {
      const Run run = ways[n]();
      if (run.seconds < best[n].seconds) best[n] = run;
    }
  return best;
}

void show(const Model& model) {
  const std::vector<Request> mixed = mixed_requests(model),
                             alike = alike_requests(model, kRequests, kOwn),
                             begun = alike_requests(model, kRequests - 1, 0);
  const std::vector<Run> runs = fastest({[&] { return run(model, mixed, false, false); },
                                         [&] { return run(model, mixed, true, false); },
                                         [&] { return run(model, alike, true, false); },
                                         [&] { return run(model, alike, true, true); },
                                         [&] { return run(model, begun, true, false); }});
  const auto line = [](const char* name, const Run& run) {
    const EngineMetrics& m = run.metrics;
    std::printf("| %s | %.0f | %lld | %lld | %.0f | %.1f | %.1f |\n", name, run.seconds * 1e3,
                static_cast<long long>(m.computed_tokens), static_cast<long long>(m.new_tokens),
                static_cast<double>(m.new_tokens) / run.seconds, m.first_token.mean * 1e3,
                m.between_tokens.mean * 1e3);
  };
  std::printf(
      "| requests | ms | tokens computed | new | new/s | first token, ms | between, ms |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  line("32 mixed, one by one", runs[0]);
  line("the same together", runs[1]);
  line("32 that begin alike, computed", runs[2]);
  line("the same with the prefix shared", runs[3]);
  line("31 times that prefix alone", runs[4]);
  std::printf("\nTogether over one by one: %.1fx. Sharing saves %.2f of what the prefixes take.\n",
              runs[0].seconds / runs[1].seconds,
              (runs[2].seconds - runs[3].seconds) / runs[4].seconds);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: serving MODEL\n");
    return 2;
  }
  try {
    show(Model::load(argv[1]));
  } catch (const Error& error) {
    std::fprintf(stderr, "serving: %s\n", error.what());
    return 1;
  }
}
