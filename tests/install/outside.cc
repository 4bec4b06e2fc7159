#include <rapt/attention.h>

#include <cstdio>

// One query that sees two keys of equal score: the mean of their values.
int main() {
  const float q[] = {1, 2}, k[] = {3, 0, 1, 1}, v[] = {10, 20, 30, 60};
  float o[2];
  rapt::Problem problem;
  problem.q_tokens = 1;
  problem.kv_tokens = 2;
  problem.head_dim = 2;
  rapt::Scratch scratch;
  rapt::Inputs inputs;
  inputs.q = {q, {1, 1, 1, 2}};
  inputs.k = {k, {1, 2, 1, 2}};
  inputs.v = {v, {1, 2, 1, 2}};
  rapt::Result result;
  result.o = {o, {1, 1, 1, 2}};
  rapt::run(rapt::make_plan(problem, rapt::Threads(2)), inputs, scratch, result);
  std::printf("%g %g\n", o[0], o[1]);
  return o[0] == 20 && o[1] == 40 ? 0 : 1;
}
