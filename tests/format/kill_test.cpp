// A process that appends is killed at any moment: what is left is what it committed, or one commit more.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "expect_error.h"
#include "ivf/format/container.hpp"
#include "sample.h"
#include "temp_dir.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

namespace {

/// Appends the rest of the sample's segments, one commit each, and reports each commit through the pipe.
[[noreturn]] void append_rest(const std::string& path, const Sample& sample, std::size_t from, int pipe) {
  try {
    for (std::size_t i = from; i < sample.segments.size(); ++i) {
      const auto writer = Writer::append(path);
      writer->write_segment(sample.segments[i].view());
      writer->commit();
      if (::write(pipe, "c", 1) != 1) ::_exit(3);
    }
  } catch (const Error&) {
    ::_exit(2);
  }
  ::_exit(0);
}

/// Number of bytes that can be read until the writing end is closed.
std::size_t drain(int pipe) {
  std::size_t count = 0;
  char byte;
  while (::read(pipe, &byte, 1) == 1) ++count;
  return count;
}

}  // namespace

TEST_CASE("killing a writer at any moment loses nothing that was committed") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  SampleOptions options;
  options.segment_rows.assign(400, 10);
  const Sample sample = make_sample(options);
  Sample first = sample;
  first.segments.clear();
  write_sample(path, first);
  std::size_t segments = 0;
  int killed = 0;
  for (int round = 0; round < 60 && segments < sample.segments.size(); ++round) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) append_rest(path, sample, segments, ends[1]);
    ::close(ends[1]);
    std::this_thread::sleep_for(std::chrono::microseconds(200 + round * 251 % 7000));
    ::kill(child, SIGKILL);
    const std::size_t reported = drain(ends[0]);
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
    killed += WIFSIGNALED(status) ? 1 : 0;

    const auto snapshot = Snapshot::open(path);
    snapshot->verify_checksums();
    const std::size_t found = snapshot->segments().size();
    INFO("round " << round << ": " << segments << " segments before, " << reported << " commits reported");
    REQUIRE((found == segments + reported || found == segments + reported + 1));
    REQUIRE(holds(*snapshot, sample, found));
    segments = found;
  }
  CHECK(killed > 20);
  CHECK(segments > 0);
}
