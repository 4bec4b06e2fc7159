// Topic 6.4, what a sparse mask drops: the share of each head's attention weight that it keeps, on the
// q and k that the default model has for a text. To be run in the project's folder.

#include <rapt/kept_mass.h>
#include <rapt/session.h>
#include <rapt/tokenizer.h>

#include <functional>

#include "llama_layers.h"
#include "sparse.h"

using namespace example;
using rapt::Mask;

namespace {

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

/// Prints a line a layer, a column a head, and returns the shares of all of them.
std::vector<double> show(const char* name, const std::vector<HeadInputs>& layers,
                         const std::function<Mask(const Tensor& q, const Tensor& k)>& mask_of) {
  rapt::Scratch scratch;
  std::vector<double> kept;
  for (const auto& [q, k, v] : layers) {
    const rapt::Problem p = problem_of(q, k, v, Mask::causal());
    const Mask mask = mask_of(q, k);
    const auto pairs = static_cast<double>(problem_of(q, k, v, mask).visible_pairs());
    if (kept.empty())
      std::printf("\n%s: %.1f%% of the pairs\n", name, 100 * pairs / double(p.visible_pairs()));
    for (const rapt::KeptMass& head :
         rapt::kept_mass(p, mask, {q, k, v}, rapt::Threads(1), scratch)) {
      kept.push_back(head.mean);
      std::printf(" %4s", percent(head.mean).c_str());
    }
    std::puts("");
  }
  std::printf("mean %s\n", percent(mean(kept)).c_str());
  return kept;
}

}  // namespace

int main() {
  Proof proof;
  const std::string directory = "models/default";
  const rapt::Model model = rapt::Model::load(directory);
  std::ifstream file("LICENSE");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::vector<std::int32_t> ids = rapt::Tokenizer::load(directory).encode(text);
  ids.resize(512);  // the model's context
  Tensor logits({1, 1, 512, model.config().vocab_size});
  const std::vector<HeadInputs> layers = LlamaLayers(directory, model.config())(ids, logits);
  rapt::Session session(model, rapt::Threads(1));
  const rapt::ConstTensor expected = session.prefill(ids, rapt::Logits::kAll);
  proof(std::memcmp(expected.data, logits.data.data(), logits.size_bytes()) == 0,
        "the network written out has the bits of the model's logits");
  print_shape("q", layers[0].q.extents);
  print_shape("k, v", layers[0].k.extents);

  const auto fixed = [](const Mask& mask) {
    return [=](const auto&, const auto&) { return mask; };
  };
  const Mask first = Mask::prefix({4}) & Mask::causal();
  const auto window = show("window 72", layers, fixed(Mask::sliding_window(72)));
  const auto sinks =
      show("window 68, first 4 tokens", layers, fixed(Mask::sliding_window(68) | first));
  const auto dilated = show("72 of every second", layers, fixed(Mask::dilated_window(72, 2)));
  show("5 top blocks of 16", layers,
       [](const Tensor& q, const Tensor& k) { return top_blocks(q, k, 16, 5); });
  proof(*std::max_element(window.begin(), window.end()) > 0.95 &&
            *std::min_element(window.begin(), window.end()) < 0.5,
        "under one window some heads keep nearly all, others less than half");
  proof(mean(sinks) > mean(window), "the first 4 tokens keep more than the far end of a window");
  proof(mean(dilated) < mean(window), "gaps beside the query keep less");
  return proof.exit_code();
}
