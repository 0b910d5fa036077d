// Segments that are made while they are written give the files that segments in memory give; files are locked before
// they are replaced.

#include <filesystem>
#include <stdexcept>

#include "expect_error.h"
#include "ivf/format/container.hpp"
#include "ivf/philox.hpp"
#include "sample.h"
#include "support/catch.hpp"
#include "temp_dir.h"
#include "test_ops.h"
#include "writer.h"
#include "writer_lock.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

namespace {

template <class T>
SegmentSource::Make<T> from(std::span<const T> values) {
  return [values](std::uint64_t first, std::span<T> out) {
    const auto part = values.subspan(first, out.size());
    std::copy(part.begin(), part.end(), out.begin());
  };
}

/// The same rows, one piece at a time.
SegmentSource source_of(const SegmentView& view) {
  SegmentSource source;
  source.rows = view.rows;
  source.offsets = view.offsets;
  source.radii = view.radii;
  source.residuals = view.residuals;
  source.ids = from(view.ids);
  source.norms = from(view.planes.norms);
  source.hi = from(view.planes.hi);
  if (!view.planes.lo.empty()) source.lo = from(view.planes.lo);
  return source;
}

template <class Write>
std::string file_of(const std::string& path, const Sample& sample, const Writer::Options& options, Write write) {
  const auto writer = Writer::create(path, sample.parameters, sample.centroids(), options, true);
  for (const SampleSegment& segment : sample.segments) write(*writer, segment.view());
  writer->commit();
  return read_bytes(path);
}

}  // namespace

TEST_CASE("a segment that is made while it is written gives the same file, plain and compressed") {
  const TempDir directory;
  // The large one has sections of several blocks and frames, ends within both, and a lo plane that does not compress.
  SampleOptions large;
  large.dim = 37;
  large.segment_rows = {50'001, 3};
  for (const SampleOptions& what : {SampleOptions{}, large}) {
    Sample sample = make_sample(what);
    const Philox random(1, 2);
    for (std::size_t i = 0; i < sample.segments[0].lo.size(); ++i)
      sample.segments[0].lo[i] = static_cast<std::uint16_t>(random.u64(i));
    for (const bool compress : {false, true}) {
      for (const unsigned threads : {1u, 3u}) {
        const Writer::Options options{compress, 3, threads};
        const auto whole = file_of(directory.file("a"), sample, options,
                                   [](Writer& writer, const SegmentView& view) { writer.write_segment(view); });
        const auto streamed =
            file_of(directory.file("b"), sample, options,
                    [](Writer& writer, const SegmentView& view) { writer.stream_segment(source_of(view)); });
        CHECK(whole == streamed);
        CHECK(any_compressed(*Snapshot::open(directory.file("b"))) == compress);
      }
    }
  }
}

TEST_CASE("a segment that cannot be made, or is made of what cannot be stored, is not written") {
  const TempDir directory;
  const Sample sample = make_sample();
  const SegmentView view = sample.segments[0].view();
  const std::string path = directory.file("a");
  const auto attempt = [&](const SegmentSource& source) {
    const auto writer = Writer::create(path, sample.parameters, sample.centroids(), {}, false);
    CHECK_THROWS(writer->stream_segment(source));
    expect_error(ErrorKind::failed, "an earlier error left this writer unusable", [&] { writer->commit(); });
  };
  SegmentSource bad = source_of(view);
  bad.ids = [](std::uint64_t, std::span<idx_t> out) { std::fill(out.begin(), out.end(), -1); };
  attempt(bad);
  bad = source_of(view);
  bad.norms = [](std::uint64_t, std::span<float> out) { std::fill(out.begin(), out.end(), -1.0f); };
  attempt(bad);
  bad = source_of(view);
  bad.hi = [](std::uint64_t, std::span<std::uint16_t>) { throw std::runtime_error("stop"); };
  attempt(bad);
  CHECK(directory.entries() == 0);
  // Offsets are looked at before anything is written, so that the writer stays usable.
  bad = source_of(view);
  ++bad.rows;
  const auto writer = Writer::create(path, sample.parameters, sample.centroids(), {}, false);
  expect_error(ErrorKind::misuse, "list offsets: expected", [&] { writer->stream_segment(bad); });
  writer->stream_segment(source_of(view));
  writer->commit();
  CHECK(writer->committed_bytes() == std::filesystem::file_size(path));
}

TEST_CASE("a file that was locked to be replaced stays as it is until then") {
  const TempDir directory;
  const std::string path = directory.file("a");
  const Sample sample = make_sample();
  write_sample(path, sample);
  auto lock = WriteLock::take(path);
  CHECK(lock->path() == path);
  const char* held = "another writer holds its lock";
  expect_error(ErrorKind::failed, held, [&] { Writer::append(path); });
  expect_error(ErrorKind::failed, held, [&] { WriteLock::take(path); });
  auto writer = Writer::replace(std::move(lock), sample.parameters, sample.centroids(), {});
  expect_error(ErrorKind::failed, held, [&] { Writer::append(path); });
  CHECK(holds(*Snapshot::open(path), sample));
  writer->commit();
  CHECK(Snapshot::open(path)->rows() == 0);
  writer.reset();
  // Given up, it is free again; where nothing is, nothing is locked.
  WriteLock::take(path).reset();
  const auto none = WriteLock::take(directory.file("b"));
  CHECK_FALSE(std::filesystem::exists(directory.file("b")));
}

TEST_CASE("system calls fail while a locked file is replaced: it is the old one or the new one") {
  const TempDir directory;
  const std::string path = directory.file("a");
  const Sample sample = make_sample();
  int injected = 0;
  for (const Call call : {Call::open, Call::pwrite, Call::fsync, Call::rename, Call::fchmod}) {
    for (int number = 0;; ++number) {
      std::filesystem::remove(path);
      write_sample(path, sample);
      const std::string before = read_bytes(path);
      FaultyOps ops;
      ops.faulty = call;
      ops.fail_at = number;
      bool failed = false;
      try {
        const auto writer =
            replace_writer(ops, std::make_unique<FileLock>(ops, path), sample.parameters, sample.centroids(), {});
        writer->stream_segment(source_of(sample.segments[1].view()));
        writer->commit();
      } catch (const Error& error) {
        failed = true;
        CHECK(error.kind() == ErrorKind::failed);
      }
      CHECK(failed == ops.triggered());
      CHECK(directory.entries() == 1);
      if (!ops.triggered()) break;
      ++injected;
      if (read_bytes(path) != before) CHECK(Snapshot::open(path)->rows() == sample.segments[1].rows());
      REQUIRE(number < 100);
    }
  }
  CHECK(injected > 10);
}
