// Index files of every format version that was released: they are read, or refused, for ever.
//
// The files in tests/golden were made by `ivf_tests_format "[generate]"`; those of a released version are never made
// again.

#include <filesystem>
#include <map>
#include <string>

#include "expect_error.h"
#include "index_image.h"
#include "ivf/format/container.hpp"
#include "sample.h"
#include "temp_dir.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

namespace {

const std::filesystem::path kGolden = std::filesystem::path(IVF_SOURCE_DIR) / "tests" / "golden";

struct Good {
  SampleOptions sample;
  bool compress = false;
};

const std::map<std::string, Good>& good_files() {
  static const std::map<std::string, Good> files = [] {
    std::map<std::string, Good> all;
    all["v1-flat-l2"].sample.kind = IndexKind::flat;
    all["v1-ivf-l2"].sample.segment_rows = {30};
    all["v1-ivf-ip-compressed"] = {{}, true};
    all["v1-ivf-ip-compressed"].sample.metric = Metric::ip;
    all["v1-ivf-ip-compressed"].sample.segment_rows = {500, 200};
    all["v1-ivf-cosine-two-segments"].sample.metric = Metric::cosine;
    all["v1-ivf-l2-lo-dropped"].sample.lo = false;
    all["v1-ivf-l2-without-rows"].sample.segment_rows.clear();
    all["v1-ivf-l2-removed"].sample.removed = true;
    return all;
  }();
  return files;
}

struct Bad {
  Repair repair;
  void (*damage)(IndexImage&);
  const char* words;
};

const std::map<std::string, Bad>& bad_files() {
  static const std::map<std::string, Bad> files = {
      {"v1-bad-truncated",
       {Repair::nothing, [](IndexImage& i) { i.bytes().pop_back(); }, "expected a file of at least"}},
      {"v1-bad-version", {Repair::header, [](IndexImage& i) { i.header().version = 99; }, "written by a newer ivf"}},
      {"v1-bad-required-feature",
       {Repair::superblock, [](IndexImage& i) { i.superblock().required_features = 0x80; }, "written by a newer ivf"}},
      {"v1-bad-overlap",
       {Repair::directory, [](IndexImage& i) { i.entries().back().offset -= 64; }, "expected no overlap"}},
      {"v1-bad-offsets",
       {Repair::sections, [](IndexImage& i) { i.section<std::uint64_t>(SectionKind::list_offsets)[1] = 1000; },
        "to be at least"}},
      {"v1-bad-plane",
       {Repair::nothing, [](IndexImage& i) { i.section<std::uint16_t>(SectionKind::hi)[5] ^= 4; },
        "section hi of segment 0"}},
  };
  return files;
}

std::string golden(const std::string& name) { return (kGolden / (name + ".ivf")).string(); }

void write_good(const std::string& path, const Good& good) {
  Writer::Options options;
  options.compress = good.compress;
  write_sample(path, make_sample(good.sample), options);
}

}  // namespace

TEST_CASE("good golden files are read") {
  for (const auto& [name, good] : good_files()) {
    INFO(name);
    const auto snapshot = Snapshot::open(golden(name));
    snapshot->verify_checksums();
    CHECK(holds(*snapshot, make_sample(good.sample)));
    CHECK(snapshot->compressed() == good.compress);
    CHECK(any_compressed(*snapshot) == good.compress);
  }
}

TEST_CASE("bad golden files are refused") {
  for (const auto& [name, bad] : bad_files()) {
    INFO(name);
    const std::string path = golden(name);
    expect_error(ErrorKind::corrupt, bad.words, [&] { Snapshot::open(path)->verify_checksums(); });
  }
}

TEST_CASE("golden files can be appended to") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  for (const auto& [name, good] : good_files()) {
    INFO(name);
    std::filesystem::copy_file(golden(name), path, std::filesystem::copy_options::overwrite_existing);
    Sample sample = make_sample(good.sample);
    sample.segments.push_back(make_segment(sample.parameters, 30, 77, true, true));
    if (sample.next_id != 0) sample.next_id += 30;
    {
      const auto writer = Writer::append(path);
      writer->write_segment(sample.segments.back().view());
      writer->commit();
    }
    const auto snapshot = Snapshot::open(path);
    snapshot->verify_checksums();
    CHECK(holds(*snapshot, sample));
  }
}

TEST_CASE("uncompressed indexes are written as the golden files were") {
  // Byte for byte, so that a change of the format cannot slip in. What zstd makes of the data may differ by its
  // version.
  const TempDir directory;
  for (const auto& [name, good] : good_files()) {
    if (good.compress) continue;
    INFO(name);
    write_good(directory.file("x.ivf"), good);
    CHECK(read_bytes(directory.file("x.ivf")) == read_bytes(golden(name)));
  }
}

TEST_CASE("the golden folder holds what the tests read and no more") {
  std::size_t files = 0;
  std::uintmax_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden)) {
    if (entry.path().extension() != ".ivf") continue;
    INFO(entry.path().string());
    const std::string name = entry.path().stem().string();
    CHECK((good_files().count(name) == 1 || bad_files().count(name) == 1));
    ++files;
    bytes += entry.file_size();
  }
  CHECK(files == good_files().size() + bad_files().size());
  CHECK(bytes < 250000);
}

TEST_CASE("make the golden files", "[.][generate]") {
  for (const auto& [name, good] : good_files()) {
    if (std::filesystem::exists(golden(name))) continue;
    write_good(golden(name), good);
  }
  for (const auto& [name, bad] : bad_files()) {
    if (std::filesystem::exists(golden(name))) continue;
    IndexImage image(golden("v1-ivf-l2"));
    bad.damage(image);
    image.repair(bad.repair);
    image.write(golden(name));
  }
}
