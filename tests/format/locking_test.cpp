// One writer at a time, and readers that it does not disturb.

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <thread>
#include <vector>

#include "expect_error.h"
#include "ivf/format/container.hpp"
#include "sample.h"
#include "temp_dir.h"
#include "test_ops.h"
#include "writer.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

TEST_CASE("two writers exclude each other") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  write_sample(path, sample);
  const std::string words = "'" + path + "': another writer holds its lock";
  {
    const auto writer = Writer::append(path);
    expect_error(ErrorKind::failed, words, [&] { Writer::append(path); });
    // Replacing the file under a writer would lose what it commits.
    expect_error(ErrorKind::failed, words,
                 [&] { Writer::create(path, sample.parameters, sample.centroids(), {}, true); });
    CHECK(Snapshot::open(path)->rows() == sample.rows());
  }
  CHECK(Writer::append(path)->rows() == sample.rows());
}

TEST_CASE("a writer that made the index keeps others out until it ends") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  {
    const auto writer = Writer::create(path, sample.parameters, sample.centroids(), {}, false);
    writer->commit();
    expect_error(ErrorKind::failed, "another writer holds its lock", [&] { Writer::append(path); });
    writer->write_segment(sample.segments[0].view());
    writer->commit();
  }
  CHECK(Writer::append(path)->rows() == sample.segments[0].rows());
}

TEST_CASE("an index that appeared meanwhile is locked before it is replaced") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  const auto late = Writer::create(path, sample.parameters, sample.centroids(), {}, true);
  write_sample(path, sample);
  const auto appender = Writer::append(path);
  expect_error(ErrorKind::failed, "another writer holds its lock", [&] { late->commit(); });
  CHECK(Snapshot::open(path)->rows() == sample.rows());
}

TEST_CASE("without replace an index that appeared meanwhile stays") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  const auto late = Writer::create(path, sample.parameters, sample.centroids(), {}, false);
  write_sample(path, sample);
  expect_error(ErrorKind::misuse, "nothing was replaced", [&] { late->commit(); });
  CHECK(Snapshot::open(path)->rows() == sample.rows());
}

TEST_CASE("a file that is replaced between open and lock is opened again") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const std::string other = directory.file("y.ivf");
  SampleOptions options;
  options.segment_rows = {3};
  const Sample old = make_sample(options);
  const Sample sample = make_sample();
  write_sample(path, old);
  write_sample(other, sample);
  FaultyOps ops;
  int replaced = 0;
  ops.after_open = [&] {
    if (replaced++ == 0) std::filesystem::rename(other, path);
  };
  const auto writer = append_writer(ops, path, 1);
  CHECK(replaced == 2);
  CHECK(writer->rows() == sample.rows());
  // It is the new file that is locked.
  expect_error(ErrorKind::failed, "another writer holds its lock", [&] { Writer::append(path); });
}

TEST_CASE("readers never fail or see a mixture while a writer commits") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  SampleOptions options;
  options.segment_rows.assign(60, 4);
  const Sample sample = make_sample(options);
  Sample first = sample;
  first.segments.resize(1);
  write_sample(path, first);

  std::atomic<bool> done{false};
  std::atomic<int> failures{0};
  std::atomic<int> opened{0};
  const auto read = [&] {
    std::vector<std::shared_ptr<const Snapshot>> kept;
    try {
      std::size_t seen = 1;
      while (!done) {
        const auto snapshot = Snapshot::open(path);
        const std::size_t segments = snapshot->segments().size();
        if (segments < seen || !holds(*snapshot, sample, segments)) ++failures;
        if (segments > seen) kept.push_back(snapshot);
        seen = segments;
        ++opened;
      }
      // What was opened long ago is still what it was.
      for (const auto& snapshot : kept) {
        snapshot->verify_checksums();
        if (!holds(*snapshot, sample, snapshot->segments().size())) ++failures;
      }
    } catch (const Error& error) {
      std::fprintf(stderr, "reader: %s\n", error.what());
      ++failures;
    }
  };
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) readers.emplace_back(read);
  for (std::size_t i = 1; i < sample.segments.size(); ++i) {
    // Every other time a writer gives up first; what it wrote is cut off again.
    if (i % 2 == 0) Writer::append(path)->write_segment(sample.segments[0].view());
    const auto writer = Writer::append(path);
    writer->write_segment(sample.segments[i].view());
    writer->commit();
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(failures == 0);
  CHECK(opened > 0);
}
