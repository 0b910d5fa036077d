// System calls fail, one after the other: the writer reports it, the file holds the old or the new state, nothing is
// left behind, and a new writer goes on.

#include <filesystem>
#include <string>

#include "expect_error.h"
#include "ivf/format/container.hpp"
#include "ivf/format/output_file.hpp"
#include "sample.h"
#include "temp_dir.h"
#include "test_ops.h"
#include "writer.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

namespace {

struct Fault {
  Call call;
  int error;
  bool forever;
};

const Fault kFaults[] = {
    {Call::open, ENOSPC, false}, {Call::open, EMFILE, true},   {Call::pwrite, ENOSPC, true},
    {Call::pwrite, EIO, false},  {Call::fsync, EIO, false},    {Call::fsync, ENOSPC, true},
    {Call::rename, EIO, false},  {Call::fchmod, EPERM, false}, {Call::ftruncate, EIO, false},
    {Call::close, EIO, false},
};

/// Calls scenario(ops) with the fault in each call in turn, until it is never reached. A scenario returns whether it
/// failed.
template <typename Scenario>
int for_each_fault(Scenario scenario) {
  int injected = 0;
  for (const Fault& fault : kFaults) {
    for (int number = 0;; ++number) {
      FaultyOps ops;
      ops.faulty = fault.call;
      ops.error = fault.error;
      ops.fail_forever = fault.forever;
      ops.fail_at = number;
      INFO("failing " << name(fault.call) << " number " << number << " with errno " << fault.error);
      scenario(ops);
      if (!ops.triggered()) break;
      ++injected;
      REQUIRE(number < 1000);
    }
  }
  return injected;
}

/// Runs the action; whether it threw the error that an injected fault should give, naming file and reason.
template <typename Action>
bool fails_cleanly(const FaultyOps& ops, const std::string& path, Action action) {
  try {
    action();
    return false;
  } catch (const Error& error) {
    const std::string message = error.what();
    INFO("message: " << message);
    REQUIRE(ops.triggered());
    REQUIRE(static_cast<int>(error.kind()) == static_cast<int>(ErrorKind::failed));
    const std::string directory = std::filesystem::path(path).parent_path().string();
    REQUIRE(message.find(directory) != std::string::npos);
    REQUIRE(message.find(errno_text(ops.error)) != std::string::npos);
    return true;
  }
}

void check_holds(const std::string& path, const Sample& sample, std::size_t segments) {
  const auto snapshot = Snapshot::open(path);
  snapshot->verify_checksums();
  REQUIRE(holds(*snapshot, sample, segments));
}

}  // namespace

TEST_CASE("a fault while an index is created leaves nothing or a whole index") {
  const Sample sample = make_sample();
  const bool existing = GENERATE(false, true);
  SampleOptions other;
  other.segment_rows = {3};
  const Sample old = make_sample(other);
  int published = 0;
  const int injected = for_each_fault([&](FaultyOps& ops) {
    const TempDir directory;
    const std::string path = directory.file("x.ivf");
    if (existing) write_sample(path, old);
    const bool failed = fails_cleanly(ops, path, [&] {
      const auto writer = create_writer(ops, path, sample.parameters, sample.centroids(), {}, existing);
      for (const SampleSegment& segment : sample.segments) writer->write_segment(segment.view());
      writer->commit();
    });
    // Only what cannot change the outcome may fail unnoticed: closing after everything is durable.
    if (!failed && ops.triggered()) CHECK(ops.faulty == Call::close);
    const bool there = std::filesystem::exists(path);
    REQUIRE(directory.entries() == (there ? 1u : 0u));
    if (there && Snapshot::open(path)->segments().size() == sample.segments.size()) {
      check_holds(path, sample, sample.segments.size());
      ++published;
    } else {
      REQUIRE(failed);
      REQUIRE(there == existing);
      if (existing) check_holds(path, old, 1);
    }
  });
  CHECK(injected > 20);
  CHECK(published > 0);
}

TEST_CASE("a fault during an append leaves the old or the new state and a writer can go on") {
  Sample sample = make_sample();
  Sample first = sample;
  first.segments.pop_back();
  Writer::Options options;
  options.compress = GENERATE(false, true);
  int kept_old = 0;
  int reached_new = 0;
  const int injected = for_each_fault([&](FaultyOps& ops) {
    const TempDir directory;
    const std::string path = directory.file("x.ivf");
    write_sample(path, first, options);
    const std::string before = read_bytes(path);
    write_bytes(path, before + std::string(1000, 'x'));  // Leftovers, so that there is something to cut off.
    bool committed = false;
    const bool failed = fails_cleanly(ops, path, [&] {
      const auto writer = append_writer(ops, path, 1);
      writer->write_segment(sample.segments.back().view());
      writer->commit();
      committed = true;
    });
    REQUIRE((failed || committed));
    const std::size_t segments = Snapshot::open(path)->segments().size();
    check_holds(path, sample, segments);
    if (committed) REQUIRE(segments == sample.segments.size());
    if (segments < sample.segments.size()) {
      ++kept_old;
      const bool could_not_cut = ops.faulty == Call::ftruncate || ops.faulty == Call::open;
      const bool superblock_begun =
          ops.calls(Call::fsync) > 1 || (ops.calls(Call::fsync) == 1 && ops.faulty != Call::fsync);
      // The disk gets back what was not committed, unless the new superblock may have reached it.
      if (!could_not_cut && !superblock_begun) REQUIRE(read_bytes(path).size() == before.size());
      const auto writer = Writer::append(path);
      writer->write_segment(sample.segments.back().view());
      writer->commit();
      check_holds(path, sample, sample.segments.size());
    } else {
      ++reached_new;
    }
  });
  CHECK(injected > 20);
  CHECK(kept_old > 0);
  CHECK(reached_new > 0);
}

TEST_CASE("a writer that failed stays failed") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  write_sample(path, sample);
  const Call call = GENERATE(Call::pwrite, Call::fsync);
  FaultyOps ops;
  const auto writer = append_writer(ops, path, 1);
  ops.faulty = call;
  ops.fail_at = ops.calls(call);
  const auto add_and_commit = [&] {
    writer->write_segment(sample.segments[0].view());
    writer->commit();
  };
  expect_error(ErrorKind::failed, "Input/output error", add_and_commit);
  const int fsyncs = ops.calls(Call::fsync);
  // The fault was a single one, but an fsync that is repeated may report success for data that are lost.
  expect_error(ErrorKind::failed, "unusable", [&] { writer->commit(); });
  expect_error(ErrorKind::failed, "unusable", add_and_commit);
  CHECK(ops.calls(Call::fsync) == fsyncs);
  check_holds(path, sample, sample.segments.size());
}

TEST_CASE("short and interrupted writes are continued") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  FaultyOps ops;
  ops.max_bytes = GENERATE(1u, 100u);
  ops.interrupt = true;
  {
    const auto writer = create_writer(ops, path, sample.parameters, sample.centroids(), {}, false);
    writer->write_segment(sample.segments[0].view());
    writer->commit();
  }
  write_bytes(path, read_bytes(path) + "leftovers");
  {
    const auto writer = append_writer(ops, path, 2);
    writer->write_segment(sample.segments[1].view());
    writer->commit();
  }
  check_holds(path, sample, 2);
}

TEST_CASE("a fault in an output file leaves the old file or a whole new one") {
  const std::string text(3 << 20, 'n');
  const bool existing = GENERATE(false, true);
  int replaced = 0;
  const int injected = for_each_fault([&](FaultyOps& ops) {
    const TempDir directory;
    const std::string path = directory.file("out.bin");
    if (existing) write_bytes(path, "old");
    const bool failed = fails_cleanly(ops, path, [&] {
      OutputFile file(path, ops);
      file.write(text.data(), 10);
      file.write(text.data(), text.size() - 10);
      file.commit();
    });
    if (!failed && ops.triggered()) CHECK(ops.faulty == Call::close);  // Of the directory, after its fsync.
    REQUIRE(directory.entries() == (std::filesystem::exists(path) ? 1u : 0u));
    if (std::filesystem::exists(path) && read_bytes(path) == text) {
      ++replaced;
    } else {
      REQUIRE(failed);
      REQUIRE(std::filesystem::exists(path) == existing);
      if (existing) REQUIRE(read_bytes(path) == "old");
    }
  });
  CHECK(injected > 8);
  CHECK(replaced > 0);
}
