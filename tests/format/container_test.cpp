// What is written is read again.

#include "ivf/format/container.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>

#include "expect_error.h"
#include "layout.h"
#include "sample.h"
#include "temp_dir.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

namespace {

std::shared_ptr<const Snapshot> check_roundtrip(const Sample& sample, const Writer::Options& options = {}) {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  write_sample(path, sample, options);
  CHECK(directory.entries() == 1);
  const auto snapshot = Snapshot::open(path, options.threads);
  snapshot->verify_checksums(options.threads);
  CHECK(holds(*snapshot, sample));
  CHECK(snapshot->generation() == 1 + sample.segments.size());
  CHECK(snapshot->format_version() == 1);
  CHECK(snapshot->file_bytes() == snapshot->committed_bytes());
  CHECK(snapshot->compressed() == options.compress);
  return snapshot;
}

template <typename T>
void check_readable_past_end(std::span<const T> values) {
  CHECK(reinterpret_cast<std::uintptr_t>(values.data()) % 64 == 0);
  std::byte tail[64];
  std::memcpy(tail, values.data() + values.size(), sizeof tail);
  CHECK(std::all_of(tail, tail + sizeof tail, [](std::byte value) { return value == std::byte{0}; }));
}

}  // namespace

TEST_CASE("indexes of all kinds survive a round trip") {
  SampleOptions options;
  SECTION("ivf with several segments") {}
  SECTION("flat") { options.kind = IndexKind::flat; }
  SECTION("inner product") { options.metric = Metric::ip; }
  SECTION("cosine") { options.metric = Metric::cosine; }
  SECTION("without lo planes") { options.lo = false; }
  SECTION("without residuals") { options.residuals = false; }
  SECTION("without rows") { options.segment_rows.clear(); }
  SECTION("one row") { options.segment_rows = {1}; }
  SECTION("without metadata") { options.metadata.clear(); }
  SECTION("one dimension and one list") {
    options.dim = 1;
    options.nlist = 1;
  }
  SECTION("the largest dimension") {
    options.dim = kMaxDim;
    options.segment_rows = {3, 1};
  }
  SECTION("many lists and few rows") {
    options.nlist = 5000;
    options.dim = 2;
  }
  SECTION("many segments") { options.segment_rows.assign(50, 3); }
  const auto snapshot = check_roundtrip(make_sample(options));
  CHECK_FALSE(any_compressed(*snapshot));
}

TEST_CASE("the largest number of lists survives a round trip") {
  SampleOptions options;
  options.nlist = kMaxLists;
  options.dim = 1;
  options.segment_rows = {10};
  check_roundtrip(make_sample(options));
}

TEST_CASE("compressed sections of several frames survive a round trip on any number of threads") {
  SampleOptions options;
  options.segment_rows = {200000, 3};
  options.dim = 12;
  const Sample sample = make_sample(options);
  Writer::Options writer_options;
  writer_options.compress = true;
  writer_options.threads = GENERATE(1u, 3u);
  writer_options.level = GENERATE(1, 9);
  const auto snapshot = check_roundtrip(sample, writer_options);
  for (const SectionInfo& info : snapshot->sections()) {
    const bool large = info.segment == 0 && (info.name == "hi" || info.name == "lo" || info.name == "ids");
    if (large) CHECK(info.compressed);
    if (info.compressed) CHECK(info.stored_bytes < info.raw_bytes);
    if (info.segment < 0) CHECK_FALSE(info.compressed);
  }
}

TEST_CASE("data that do not compress are stored as they are in a compressed index") {
  SampleOptions options;
  options.segment_rows = {200000};
  options.dim = 32;
  Sample sample = make_sample(options);
  std::uint64_t state = 1;
  for (std::uint16_t& value : sample.segments[0].lo) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    value = static_cast<std::uint16_t>(state >> 48);
  }
  // And data that compress beyond what a reader would accept.
  std::fill(sample.segments[0].hi.begin(), sample.segments[0].hi.end(), std::uint16_t{0x3f80});
  Writer::Options writer_options;
  writer_options.compress = true;
  const auto snapshot = check_roundtrip(sample, writer_options);
  for (const SectionInfo& info : snapshot->sections()) {
    if (info.name == "hi" || info.name == "lo") CHECK_FALSE(info.compressed);
    if (info.name == "ids") CHECK(info.compressed);
  }
}

TEST_CASE("small sections that compression would not help are stored as they are") {
  SampleOptions options;
  options.segment_rows = {2};
  Writer::Options writer_options;
  writer_options.compress = true;
  const auto snapshot = check_roundtrip(make_sample(options), writer_options);
  CHECK_FALSE(any_compressed(*snapshot));
  CHECK(snapshot->compressed());
}

TEST_CASE("a lo plane of zeros is dropped") {
  Sample sample = make_sample();
  std::fill(sample.segments[1].lo.begin(), sample.segments[1].lo.end(), std::uint16_t{0});
  std::fill(sample.centroid_lo.begin(), sample.centroid_lo.end(), std::uint16_t{0});
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  write_sample(path, sample);
  sample.segments[1].lo.clear();
  sample.centroid_lo.clear();
  const auto snapshot = Snapshot::open(path);
  CHECK(holds(*snapshot, sample));
  CHECK_FALSE(snapshot->segments()[0].planes.lo.empty());
}

TEST_CASE("sections are aligned and readable past their end") {
  SampleOptions options;
  options.segment_rows = {2001, 5};
  options.dim = 3;
  Writer::Options writer_options;
  writer_options.compress = GENERATE(false, true);
  const auto snapshot = check_roundtrip(make_sample(options), writer_options);
  CHECK(any_compressed(*snapshot) == writer_options.compress);
  const auto check_planes = [](const Planes& planes) {
    check_readable_past_end(planes.hi);
    check_readable_past_end(planes.lo);
    check_readable_past_end(planes.norms);
  };
  check_planes(snapshot->centroids());
  for (const SegmentView& segment : snapshot->segments()) {
    check_readable_past_end(segment.offsets);
    check_readable_past_end(segment.ids);
    check_readable_past_end(segment.radii);
    check_readable_past_end(segment.residuals);
    check_planes(segment.planes);
  }
}

TEST_CASE("the same contents give the same bytes on any number of threads") {
  const TempDir directory;
  SampleOptions options;
  options.segment_rows = {150000, 10};
  options.dim = 20;
  const Sample sample = make_sample(options);
  Writer::Options writer_options;
  writer_options.compress = GENERATE(false, true);
  std::string expected;
  std::string hash;
  for (const unsigned threads : {1u, 2u, 7u}) {
    writer_options.threads = threads;
    write_sample(directory.file("x.ivf"), sample, writer_options);
    const std::string found = read_bytes(directory.file("x.ivf"));
    const std::string found_hash = Snapshot::open(directory.file("x.ivf"))->hash();
    if (threads == 1) {
      expected = found;
      hash = found_hash;
    }
    CHECK(found == expected);
    CHECK(found_hash == hash);
  }
  CHECK(hash.size() == 32);
  write_sample(directory.file("y.ivf"), make_sample());
  CHECK(Snapshot::open(directory.file("y.ivf"))->hash() != hash);
}

TEST_CASE("appending gives the same bytes as going on with the same writer") {
  const TempDir directory;
  const Sample sample = make_sample();
  Writer::Options options;
  options.compress = GENERATE(false, true);
  options.level = 7;
  write_sample(directory.file("once.ivf"), sample, options);
  Sample empty = sample;
  empty.segments.clear();
  write_sample(directory.file("reopened.ivf"), empty, options);
  for (const SampleSegment& segment : sample.segments) {
    const auto writer = Writer::append(directory.file("reopened.ivf"));
    CHECK(writer->parameters().metadata == sample.parameters.metadata);
    writer->write_segment(segment.view());
    writer->commit();
  }
  CHECK(read_bytes(directory.file("reopened.ivf")) == read_bytes(directory.file("once.ivf")));
}

TEST_CASE("several segments may become visible with one commit") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  {
    const auto writer = Writer::create(path, sample.parameters, sample.centroids(), {}, false);
    for (const SampleSegment& segment : sample.segments) writer->write_segment(segment.view());
    CHECK(writer->rows() == sample.rows());
    writer->commit();
    CHECK(writer->rows() == sample.rows());
    const std::string committed = read_bytes(path);
    writer->commit();  // Nothing new.
    writer->write_segment({});
    writer->commit();
    CHECK(read_bytes(path) == committed);
  }
  const auto snapshot = Snapshot::open(path);
  CHECK(holds(*snapshot, sample));
  CHECK(snapshot->generation() == 1);
}

TEST_CASE("what is not committed is not there and takes no space") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  { const auto writer = Writer::create(path, sample.parameters, sample.centroids(), {}, false); }
  CHECK(directory.entries() == 0);
  write_sample(path, sample);
  const std::string before = read_bytes(path);
  {
    const auto writer = Writer::append(path);
    writer->write_segment(sample.segments[0].view());
    CHECK(writer->rows() == sample.rows() + sample.segments[0].rows());
    CHECK(Snapshot::open(path)->rows() == sample.rows());
  }
  CHECK(read_bytes(path) == before);
}

TEST_CASE("a snapshot keeps its generation while the index grows and is replaced") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  Sample sample = make_sample();
  write_sample(path, sample);
  const auto old = Snapshot::open(path);
  {
    const auto writer = Writer::append(path);
    writer->write_segment(sample.segments[0].view());
    writer->commit();
  }
  const auto grown = Snapshot::open(path);
  SampleOptions other;
  other.segment_rows = {1};
  write_sample(path, make_sample(other));
  old->verify_checksums();
  CHECK(holds(*old, sample));
  sample.segments.push_back(sample.segments[0]);
  grown->verify_checksums();
  CHECK(holds(*grown, sample));
  CHECK(holds(*Snapshot::open(path), make_sample(other)));
}

TEST_CASE("an existing file is only replaced on request and keeps its mode") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  write_bytes(path, "something else");
  REQUIRE(::chmod(path.c_str(), 0640) == 0);
  expect_error(ErrorKind::misuse, "'" + path + "' exists",
               [&] { Writer::create(path, sample.parameters, sample.centroids(), {}, false); });
  CHECK(read_bytes(path) == "something else");
  write_sample(path, sample);
  CHECK(holds(*Snapshot::open(path), sample));
  struct stat status = {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0640);
}

TEST_CASE("paths that cannot be opened are errors that name them") {
  const TempDir directory;
  const std::string path = directory.file("none.ivf");
  const std::string words = "cannot open '" + path + "': No such file or directory";
  expect_error(ErrorKind::failed, words, [&] { Snapshot::open(path); });
  expect_error(ErrorKind::failed, words, [&] { Writer::append(path); });
  const std::string folder = directory.path().string();
  expect_error(ErrorKind::failed, "found a directory", [&] { Snapshot::open(folder); });
  expect_error(ErrorKind::failed, folder, [&] { Writer::append(folder); });
  const std::string fifo = directory.file("fifo");
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  expect_error(ErrorKind::failed, "expected a regular file", [&] { Snapshot::open(fifo); });
  expect_error(ErrorKind::failed, "expected a regular file", [&] { Writer::append(fifo); });
  expect_error(ErrorKind::failed, "expected a regular file", [&] {
    const Sample sample = make_sample();
    Writer::create(fifo, sample.parameters, sample.centroids(), {}, true);
  });
}

TEST_CASE("parameters that make no sense are refused") {
  const TempDir directory;
  Sample sample = make_sample();
  Writer::Options options;
  std::string words;
  SECTION("dimension of zero") {
    sample.parameters.dim = 0;
    words = "dimension: expected 1 to 65536, found 0";
  }
  SECTION("dimension too large") {
    sample.parameters.dim = kMaxDim + 1;
    words = "found 65537";
  }
  SECTION("no lists") {
    sample.parameters.nlist = 0;
    words = "nlist: expected 1 to 1048576, found 0";
  }
  SECTION("too many lists") {
    sample.parameters.nlist = kMaxLists + 1;
    words = "found 1048577";
  }
  SECTION("lists in a flat index") {
    sample.parameters.kind = IndexKind::flat;
    words = "nlist: expected 1 to 1, found 4";
  }
  SECTION("centroids in a flat index") {
    sample.parameters.kind = IndexKind::flat;
    sample.parameters.nlist = 1;
    words = "planes of the centroids: expected 0 x 8";
  }
  SECTION("a centroid missing") {
    sample.centroid_hi.resize(24);
    words = "planes of the centroids: expected 4 x 8";
  }
  SECTION("an unknown kind") {
    sample.parameters.kind = static_cast<IndexKind>(7);
    words = "index kind";
  }
  SECTION("an unknown metric") {
    sample.parameters.metric = static_cast<Metric>(7);
    words = "metric: expected";
  }
  SECTION("too much metadata") {
    sample.parameters.metadata.assign(kMaxMetadata + 1, ' ');
    words = "metadata: expected at most 16777216 bytes";
  }
  SECTION("a compression level of zero") {
    options.level = 0;
    words = "compression level: expected 1 to 22, found 0";
  }
  expect_error(ErrorKind::misuse, words,
               [&] { Writer::create(directory.file("x.ivf"), sample.parameters, sample.centroids(), options, false); });
  CHECK(directory.entries() == 0);
}

TEST_CASE("segments that make no sense are refused and change nothing") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  const Sample sample = make_sample();
  write_sample(path, sample);
  SampleSegment bad = sample.segments[0];
  std::string words;
  SECTION("too few offsets") {
    bad.offsets.pop_back();
    words = "list offsets: expected 5 values that rise from 0 to 20";
  }
  SECTION("offsets that fall") {
    bad.offsets[3] = 1;
    words = "list offsets";
  }
  SECTION("offsets that do not end at the rows") {
    bad.offsets[4] = 19;
    words = "list offsets";
  }
  SECTION("an id of -1") {
    bad.ids[7] = -1;
    words = "-1 marks a missing result";
  }
  SECTION("a short hi plane") {
    bad.hi.pop_back();
    words = "planes of a segment: expected 20 x 8";
  }
  SECTION("a short lo plane") {
    bad.lo.pop_back();
    words = "planes of a segment";
  }
  SECTION("a norm missing") {
    bad.norms.pop_back();
    words = "planes of a segment";
  }
  SECTION("a norm that is not a number") {
    bad.norms[0] = std::numeric_limits<float>::quiet_NaN();
    words = "norms of a segment: expected numbers that are not negative";
  }
  SECTION("radii missing") {
    bad.radii.clear();
    words = "list radii: expected 4 values, found 0";
  }
  SECTION("a negative radius") {
    bad.radii[0] = -1;
    words = "list radii: expected numbers that are not negative";
  }
  SECTION("residuals missing") {
    bad.residuals.pop_back();
    words = "list residuals: expected 4 values, found 3";
  }
  const auto writer = Writer::append(path);
  expect_error(ErrorKind::misuse, words, [&] { writer->write_segment(bad.view()); });
  // The writer can go on.
  writer->write_segment(sample.segments[0].view());
  writer->commit();
  CHECK(Snapshot::open(path)->rows() == sample.rows() + sample.segments[0].rows());
}

TEST_CASE("more than 2^40 rows are refused before anything is written") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  SampleOptions options;
  options.nlist = 1;
  options.segment_rows = {};
  const Sample sample = make_sample(options);
  write_sample(path, sample);
  const auto writer = Writer::append(path);
  SegmentView view;
  view.rows = kMaxRows + 1;
  const std::uint64_t offsets[] = {0, kMaxRows + 1};
  view.offsets = offsets;
  expect_error(ErrorKind::misuse, "an index holds at most 2^40 rows", [&] { writer->write_segment(view); });
}
