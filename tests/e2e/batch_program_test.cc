// `rapt batch` as a shell sees it.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>
#include <vector>

#include "program.h"

namespace rapt::test {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> sorted_lines_of(const std::string& path) {
  std::vector<std::string> lines = lines_of(content_of(path));
  std::ranges::sort(lines);
  return lines;
}

/// Ends at different times, drawn and greedy, with prompts that begin alike.
std::string requests(int count) {
  std::string text;
  for (int n = 0; n < count; ++n) {
    json request = {{"id", "r" + std::to_string(n)},
                    {"prompt", n % 3 == 0 ? "The big dog" : "Once upon a time there was a"},
                    {"max_tokens", 20 + n * 37 % 300},
                    {"temperature", 0.2 * (n % 5)},
                    {"seed", n}};
    text += request.dump() + "\n";
  }
  return text;
}

class BatchProgram : public TrainedModel {
 protected:
  Outcome batch(const std::string& requests, const std::string& arguments = "") const {
    return rapt("batch '" + model_ + "' '" + requests + "' -o '" + results_ + "' " + arguments);
  }

  /// Answers by the dump of their ids, those without by their lines.
  std::map<std::string, json> answers() const {
    std::map<std::string, json> found;
    for (const std::string& line : lines_of(content_of(results_))) {
      const json answer = json::parse(line);
      const std::string key = (answer.contains("id") ? answer["id"] : answer["line"]).dump();
      EXPECT_TRUE(found.emplace(key, answer).second) << key << " twice";
    }
    return found;
  }

  /// The same run in a process of its own, which can be stopped.
  pid_t start(const std::string& requests) const {
    const pid_t child = fork();
    if (child != 0) return child;
    const int nowhere = open("/dev/null", O_RDWR);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execl(RAPT_PROGRAM, "rapt", "batch", model_.c_str(), requests.c_str(), "-o", results_.c_str(),
          nullptr);
    _exit(127);
  }

  /// Waits until the results have grown by some bytes, or the run has ended by itself: then false.
  bool wait_for_growth(pid_t child, std::uintmax_t bytes) const {
    std::error_code none;
    const auto size = [&] {
      const std::uintmax_t now = std::filesystem::file_size(results_, none);
      return none ? 0 : now;
    };
    const std::uintmax_t before = size();
    siginfo_t info;
    for (int wait = 0; wait < 60000 && size() < before + bytes; ++wait) {
      info.si_pid = 0;
      waitid(P_PID, child, &info, WEXITED | WNOHANG | WNOWAIT);
      if (info.si_pid == child) return false;
      std::this_thread::sleep_for(1ms);
    }
    return true;
  }

  const TestDirectory directory_;
  const std::string results_ = directory_.file("results.jsonl");
};

TEST_F(BatchProgram, AnswersAreThoseOfGenerateAlone) {
  struct Case {
    const char *fields, *options;
  };
  const Case cases[] = {
      {R"("max_tokens": 30)", "-n 30"},
      {R"("max_tokens": 25, "temperature": 0.9, "seed": 18446744073709551615)",
       "-n 25 --temperature 0.9 --seed 18446744073709551615"},
      {R"("temperature": 1.5, "top_k": 20, "seed": 1)", "--temperature 1.5 --top-k 20 --seed 1"},
      {R"("temperature": 1.5, "top_p": 0.5, "seed": 2)", "--temperature 1.5 --top-p 0.5 --seed 2"},
      {R"("temperature": 1.5, "min_p": 0.1, "seed": 3)", "--temperature 1.5 --min-p 0.1 --seed 3"},
      {R"("repetition_penalty": 1.3)", "--repetition-penalty 1.3"}};
  const std::string prompt = "The big dog";
  std::string text;
  for (std::size_t n = 0; n < std::size(cases); ++n)
    text += "{\"id\": " + std::to_string(n) + ", \"prompt\": \"" + prompt +
            "\", \"logprobs\": true, " + cases[n].fields + "}\n";
  const std::string file = directory_.write("requests", text);
  const Outcome outcome = batch(file, "--page-size 16 --cache-memory 4MB --threads 2");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_EQ(outcome.errors, "");
  const auto got = answers();
  ASSERT_EQ(got.size(), std::size(cases));
  for (std::size_t n = 0; n < std::size(cases); ++n) {
    const json want = json::parse(
        rapt("generate '" + model_ + "' --json -p '" + prompt + "' " + cases[n].options).output);
    EXPECT_EQ(got.at(std::to_string(n)),
              (json{{"id", n},
                    {"text", want["text"].get<std::string>().substr(prompt.size())},
                    {"tokens", want["tokens"]},
                    {"finish", want["finish_reason"]},
                    {"prompt_tokens", want["prompt_tokens"]},
                    {"logprobs", want["logprobs"]}}))
        << cases[n].fields;
  }
}

TEST_F(BatchProgram, TypesAreThoseOfGenerate) {
  const std::string file = directory_.write(
      "requests", R"({"id": "a", "prompt": "The big dog", "max_tokens": 12, "logprobs": true})");
  for (const char* types : {"--dtype bf16", "--weights int8"}) {
    std::filesystem::remove(results_);
    ASSERT_EQ(batch(file, types).status, 0);
    const json want = json::parse(
        rapt("generate '" + model_ + "' --json -p 'The big dog' -n 12 " + types).output);
    EXPECT_EQ(answers().at("\"a\"")["logprobs"], want["logprobs"]) << types;
  }
}

TEST_F(BatchProgram, TokensStopsAndLengths) {
  std::string full_prompt = "Once";
  for (int n = 1; n < 505; ++n) full_prompt += " the";
  const std::string file = directory_.write("requests", R"(
    {"id": "tokens", "tokens": [1, 291, 370, 400, 428], "max_tokens": 7}
    {"id": "one", "prompt": "The big dog", "stop": ", red"}
    {"id": "two", "prompt": "The big dog", "stop": ["no such", "big"], "logprobs": false}
    {"id": "none", "prompt": "The big dog", "max_tokens": 0, "seed": null}
    {"id": "full", "prompt": ")" + full_prompt + "\"}\n");
  ASSERT_EQ(batch(file).status, 0);
  auto got = answers();
  const auto has = [&](const char* id, const char* text, const char* finish) {
    const json& answer = got.at(json(id).dump());
    EXPECT_EQ(answer["text"], text);
    EXPECT_EQ(answer["finish"], finish);
    EXPECT_EQ(answer.size(), 5u);
  };
  has("tokens", " was a big, red b", "length");
  has("one", " was a big", "stop");
  has("two", " was a ", "stop");
  has("none", "", "length");
  const json& full = got.at("\"full\"");
  EXPECT_EQ(full["finish"], "context");
  EXPECT_EQ(full["prompt_tokens"].size() + full["tokens"].size(), 513u);  // the last is not fed
}

TEST_F(BatchProgram, HigherPrioritiesGoFirst) {
  std::string text;
  for (const int priority : {0, -5, 7, 3})
    text +=
        json{{"id", priority}, {"prompt", "a"}, {"max_tokens", 40}, {"priority", priority}}.dump() +
        "\n";
  // Two pages of the cache: one request at a time.
  ASSERT_EQ(
      batch(directory_.write("requests", text), "--page-size 32 --cache-memory 122880").status, 0);
  std::vector<int> order;
  for (const std::string& line : lines_of(content_of(results_)))
    order.push_back(json::parse(line)["id"]);
  EXPECT_EQ(order, (std::vector<int>{7, 3, 0, -5}));
}

TEST_F(BatchProgram, EachBadLineIsAnsweredByAnError) {
  struct Case {
    const char *line, *id, *error;
  };
  const Case cases[] = {
      {"nonsense", nullptr, "request: expected JSON, got "},
      {"[1]", nullptr, "request: expected an object, got [1]"},
      {R"({"id": "u", "prompt": ")"
       "\xff"
       R"("})",
       nullptr, "request: expected JSON, got "},
      {R"({"prompt": "a"})", nullptr, "request id: expected a value, got none"},
      {R"({"id": 1.5, "prompt": "a"})", nullptr,
       "request id: expected a string or an integer, got 1.5"},
      {R"({"id": "good", "prompt": "a"})", R"("good")",
       R"(request id: expected one that no line before has, got "good")"},
      {R"({"id": 1, "prompt": "a", "colour": 3})", "1",
       R"(request: expected only fields that rapt batch --help has, got "colour")"},
      {R"({"id": 2})", "2", "request: expected either prompt or tokens, got neither"},
      {R"({"id": 3, "prompt": "a", "tokens": [1]})", "3",
       "request: expected either prompt or tokens, got both"},
      {R"({"id": 4, "prompt": 5})", "4", "request prompt: expected a string, got 5"},
      {R"({"id": 5, "tokens": [1, "a"]})", "5", "request tokens[1]: expected an integer"},
      {R"({"id": 6, "prompt": "a", "max_tokens": -1})", "6",
       "request max_tokens: expected an integer from 0 to "},
      {R"({"id": 7, "prompt": "a", "seed": -1})", "7",
       "request seed: expected an integer from 0 to 2^64 - 1, got -1"},
      {R"({"id": 8, "prompt": "a", "stop": 8})", "8",
       "request stop: expected a string or an array of strings, got 8"},
      {R"({"id": 9, "prompt": "a", "logprobs": 1})", "9",
       "request logprobs: expected true or false, got 1"},
      {R"({"id": 10, "tokens": [1, 512]})", "10", "Request.prompt[1]: expected 0 to 511, got 512"},
      {R"({"id": 11, "prompt": "a", "top_p": 2})", "11", "SamplerConfig.top_p: "},
      {R"({"id": 12, "prompt": "a", "stop": ""})", "12", "Request.stop_strings: "}};
  std::string text = "\n{\"id\": \"good\", \"prompt\": \"The big dog\", \"max_tokens\": 7}\r\n \n";
  for (const Case& bad : cases) text += bad.line + std::string("\n");
  const std::string file = directory_.write("requests", text);
  const Outcome outcome = batch(file, "--json");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.errors, "");
  const json summary = json::parse(outcome.output);
  EXPECT_EQ(summary["requests"], std::size(cases) + 1);
  EXPECT_EQ(summary["answered"], std::size(cases) + 1);
  EXPECT_EQ(summary["errors"], std::size(cases));
  EXPECT_EQ(summary["tokens"], 7);
  EXPECT_GT(summary["metrics"]["steps"], 0);

  std::map<int, json> by_line;
  int good = 0;
  for (const std::string& line : lines_of(content_of(results_))) {
    const json answer = json::parse(line);
    if (answer.contains("error"))
      EXPECT_TRUE(by_line.emplace(answer["line"], answer).second) << line;
    else
      good += answer["text"] == " was a big, red b";
  }
  EXPECT_EQ(good, 1);
  for (std::size_t n = 0; n < std::size(cases); ++n) {
    const json& answer = by_line[static_cast<int>(n) + 4];
    EXPECT_EQ(answer["error"].get<std::string>().find(cases[n].error), 0u) << answer;
    if (cases[n].id == nullptr)
      EXPECT_FALSE(answer.contains("id")) << answer;
    else
      EXPECT_EQ(answer["id"], json::parse(cases[n].id));
  }

  const std::string before = content_of(results_);  // errors are answers: not done again
  EXPECT_EQ(batch(file).status, 1);
  EXPECT_EQ(content_of(results_), before);
}

TEST_F(BatchProgram, ATornLineIsCutOffAndDoneAgain) {
  const std::string file = directory_.write("requests", requests(3));
  ASSERT_EQ(batch(file).status, 0);
  const std::string whole = content_of(results_);
  const auto want = sorted_lines_of(results_);
  const std::size_t last = whole.rfind('\n', whole.size() - 2) + 1;
  for (const std::size_t size : {last, last + 1, last + 9, whole.size() - 2, whole.size() - 1}) {
    directory_.write("results.jsonl", whole.substr(0, size));
    const Outcome outcome = batch(file, "--json");
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
    EXPECT_EQ(json::parse(outcome.output)["answered"], 3);
    EXPECT_EQ(sorted_lines_of(results_), want) << size;
  }
  directory_.write("results.jsonl", whole.substr(0, last + 9) + "\n");  // whole, but no JSON
  EXPECT_EQ(batch(file).status, 0);
  EXPECT_EQ(sorted_lines_of(results_), want);

  const std::string more = directory_.write("requests", requests(5));
  const Outcome outcome = batch(more);
  EXPECT_EQ(outcome.output.find("5 of 5 requests answered, 0 of them by errors; "), 0u);
  EXPECT_EQ(answers().size(), 5u);
  EXPECT_EQ(content_of(results_).find(whole.substr(0, last)), 0u);
}

TEST_F(BatchProgram, AFileThatIsNoResultsIsLeftAsItIs) {
  const std::string file = directory_.write("requests", requests(2));
  const auto refuses = [&](const std::string& content, const std::string& message) {
    directory_.write("results.jsonl", content);
    const Outcome outcome = batch(file);
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.errors.find("rapt: " + results_ + message), 0u) << outcome.errors;
    EXPECT_EQ(content_of(results_), content);
  };
  refuses("notes", " line 1: expected an answer of an earlier run, got ");
  refuses("notes\n{\"", " line 1: expected JSON, got ");
  for (const char* other :
       {"{\"precious\": 1}", "{\"id\":\"r0\",\"prompt\":\"a\"}", "{\"precious\""})
    refuses(other, " line 1: expected an answer of an earlier run, got ");
  refuses("{\"id\": \"r0\", \"prompt\": \"a\"}\n", " line 1 finish: expected a value, got none");
  refuses("{\"id\": \"s\", \"finish\": \"stop\"}\n{",
          " line 1: expected an answer to one of the requests, got one to id \"s\"");
  refuses("{\"line\": 2, \"error\": \"\"}\n", " line 1: expected an answer to one of the requests");
  refuses("{\"id\": \"r0\", \"finish\": \"stop\"}\n{\"id\": \"r0\", \"finish\": \"stop\"}\n",
          ": expected one answer to each request, got two to that of line 1");

  const std::string before = content_of(file);
  EXPECT_EQ(rapt("batch '" + model_ + "' '" + file + "' -o '" + file + "'").status, 1);
  EXPECT_EQ(content_of(file), before);
  EXPECT_EQ(rapt("batch '" + model_ + "' '" + file + "' -o /dev/null").status, 1);
  EXPECT_EQ(rapt("batch '" + model_ + "' '" + file + "'").status, 2);
  EXPECT_EQ(batch(file, "--cache-memory -1").status, 2);
  for (const char* size : {"0", "24", "-16", "many"})
    EXPECT_EQ(batch(file, std::string("--page-size ") + size).status, 2) << size;
}

TEST_F(BatchProgram, ACacheOfNoPageIsAnErrorOfItsOption) {
  const std::string file =
      directory_.write("requests", R"({"id": 1, "prompt": "a", "max_tokens": 3})"
                                   "\n");
  const Outcome outcome = batch(file, "--page-size 16 --cache-memory 1KiB");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_NE(outcome.errors.find("--cache-memory: expected at least "), std::string::npos)
      << outcome.errors;
  EXPECT_NE(outcome.errors.find(" bytes, a page of 16 tokens, got 1024"), std::string::npos);
}

// A text that a small cache would end is refused, not cut.
TEST_F(BatchProgram, ARequestBeyondTheCacheIsAnError) {
  const std::string file =
      directory_.write("requests", R"({"id": 1, "prompt": "a", "max_tokens": 3})"
                                   "\n"
                                   R"({"id": 2, "prompt": "a", "max_tokens": 40})"
                                   "\n");
  EXPECT_EQ(batch(file, "--page-size 16 --cache-memory 60KiB").status, 1);
  const auto found = answers();
  EXPECT_EQ(found.at("1")["finish"], "length");
  EXPECT_NE(found.at("2")["error"].get<std::string>().find("--cache-memory"), std::string::npos);
}

TEST_F(BatchProgram, AClosedStdoutIsNotTheResults) {
  const std::string file = directory_.write("requests", requests(2));
  EXPECT_EQ(batch(file, ">&-").status, 1);
  EXPECT_EQ(answers().size(), 2u);
}

TEST_F(BatchProgram, KilledAtRandomPointsNothingIsLostAndNothingTwice) {
  const std::string file = directory_.write("requests", requests(40));
  ASSERT_EQ(batch(file).status, 0);
  const auto want = sorted_lines_of(results_);
  ASSERT_EQ(want.size(), 40u);
  std::filesystem::remove(results_);

  std::mt19937 random(9);
  int kills = 0, mid_run = 0;
  for (int run = 0; run < 12; ++run) {
    const pid_t child = start(file);
    if (wait_for_growth(child, random() % 5000)) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 5000));
      kill(child, SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
      ++kills;
      const std::size_t lines = lines_of(content_of(results_)).size();
      mid_run += lines > 0 && lines < 40;
    } else {
      EXPECT_EQ(WEXITSTATUS(status), 0);
    }
  }
  std::printf("%d runs killed, %d between the first answer and the last\n", kills, mid_run);
  EXPECT_GE(mid_run, 1);
  const Outcome outcome = batch(file);
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  EXPECT_EQ(sorted_lines_of(results_), want);
}

TEST_F(BatchProgram, InterruptedItEndsWith130AndGoesOnLater) {
  for (const int signal : {SIGINT, SIGTERM}) {
    std::filesystem::remove(results_);
    const std::string file = directory_.write("requests", requests(120));
    const pid_t child = start(file);
    ASSERT_TRUE(wait_for_growth(child, 1));
    kill(child, SIGSTOP);
    const Outcome second = batch(file);
    kill(child, signal);
    kill(child, SIGCONT);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status)) << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 130);
    EXPECT_EQ(second.status, 1);
    EXPECT_EQ(second.errors.find("rapt: " + results_ + ": expected no other run that writes it"),
              0u)
        << second.errors;
    EXPECT_LT(answers().size(), 120u);
    EXPECT_TRUE(content_of(results_).ends_with('\n'));
    EXPECT_EQ(batch(file).status, 0);
    EXPECT_EQ(answers().size(), 120u);
  }
}

}  // namespace
}  // namespace rapt::test
