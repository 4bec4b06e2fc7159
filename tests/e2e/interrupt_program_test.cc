// Ctrl-C while `rapt generate` waits for a reader.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "program.h"

namespace rapt::test {
namespace {

using namespace std::chrono_literals;

/// A pipe with room for `room` bytes and no more, until it is read.
class NarrowPipe {
 public:
  explicit NarrowPipe(int room) {
    if (pipe2(ends_, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    capacity_ = fcntl(ends_[0], F_SETPIPE_SZ, 4096);
    const std::string filling(capacity_ - room, '.');
    if (write(ends_[1], filling.data(), filling.size()) != std::ssize(filling))
      throw std::runtime_error("pipe not filled");
    filling_ = filling.size();
  }
  ~NarrowPipe() { close(ends_[0]); }

  int writer() const { return ends_[1]; }
  bool full() const {
    int bytes = 0;
    return ioctl(ends_[0], FIONREAD, &bytes) == 0 && bytes == capacity_;
  }
  /// What was written after the filling, up to the end of all writers.
  std::string read_all() {
    close(ends_[1]);
    std::string text;
    char buffer[4096];
    for (ssize_t size; (size = read(ends_[0], buffer, sizeof buffer)) > 0;)
      text.append(buffer, size);
    return text.substr(filling_);
  }

 private:
  int ends_[2], capacity_ = 0;
  std::size_t filling_ = 0;
};

class InterruptProgram : public TrainedModel {
 protected:
  pid_t start(int output) const {
    const pid_t child = fork();
    if (child != 0) return child;
    dup2(output, STDOUT_FILENO);
    execl(RAPT_PROGRAM, "rapt", "generate", model_.c_str(), "-p", "The big dog", "-n", "400",
          nullptr);
    _exit(127);
  }
};

TEST_F(InterruptProgram, TheTextSoFarStaysAndTheStatusIs130) {
  const std::string begin = "The big dog was a";
  NarrowPipe pipe(static_cast<int>(begin.size()));
  const pid_t child = start(pipe.writer());
  for (int wait = 0; !pipe.full() && wait < 3000; ++wait) std::this_thread::sleep_for(10ms);
  ASSERT_TRUE(pipe.full());
  std::this_thread::sleep_for(200ms);  // now the next token waits in write()
  kill(child, SIGINT);
  std::this_thread::sleep_for(200ms);
  const std::string text = pipe.read_all();
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status)) << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_EQ(text.find(begin), 0u) << text;
  EXPECT_TRUE(text.ends_with('\n'));
  EXPECT_LT(text.size(), 60u) << text;
}

}  // namespace
}  // namespace rapt::test
