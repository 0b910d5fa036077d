// The power fails while a writer appends: between two fsyncs the disk may have any of the writes, whole or in part, in
// any order. Whatever it has, the file holds the old or the new state, and the next writer goes on from there.

#include <cstddef>
#include <string>
#include <vector>

#include "expect_error.h"
#include "ivf/format/container.hpp"
#include "layout.h"
#include "sample.h"
#include "temp_dir.h"
#include "test_ops.h"
#include "writer.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

namespace {

void apply(std::string& image, const Step& step) {
  if (step.call == Call::ftruncate) {
    image.resize(step.offset);
  } else if (step.call == Call::pwrite) {
    if (image.size() < step.offset + step.data.size()) image.resize(step.offset + step.data.size());
    image.replace(step.offset, step.data.size(), step.data);
  }
}

/// The steps between two fsyncs, with the disk as it was before the first of them.
struct Epoch {
  std::string before;
  std::vector<Step> steps;
};

std::vector<Epoch> epochs_of(std::string disk, const std::vector<Step>& steps) {
  std::vector<Epoch> epochs = {{disk, {}}};
  for (const Step& step : steps) {
    if (step.call == Call::fsync) {
      for (const Step& durable : epochs.back().steps) apply(disk, durable);
      epochs.push_back({disk, {}});
    } else {
      epochs.back().steps.push_back(step);
    }
  }
  return epochs;
}

/// Checks the states that a disk can be in after a crash.
class Checker {
 public:
  Checker(const Sample& sample, std::size_t old_segments) : sample_(sample), old_segments_(old_segments) {}

  int images = 0;
  int saw_old = 0;
  int saw_new = 0;

  void check(const std::string& image) {
    ++images;
    write_bytes(path_, image);
    std::size_t segments = 0;
    {
      const auto snapshot = Snapshot::open(path_);
      snapshot->verify_checksums();
      segments = snapshot->segments().size();
      REQUIRE((segments == old_segments_ || segments == old_segments_ + 1));
      REQUIRE(holds(*snapshot, sample_, segments));
    }
    (segments == old_segments_ ? saw_old : saw_new) += 1;
    // The next writer appends the missing segment, or another one.
    Sample after = sample_;
    if (segments == sample_.segments.size()) after.segments.push_back(sample_.segments[0]);
    const auto writer = Writer::append(path_);
    writer->write_segment(after.segments[segments].view());
    writer->commit();
    const auto snapshot = Snapshot::open(path_);
    snapshot->verify_checksums();
    REQUIRE(holds(*snapshot, after, segments + 1));
  }

 private:
  TempDir directory_;
  std::string path_ = directory_.file("crashed.ivf");
  const Sample& sample_;
  std::size_t old_segments_;
};

/// A writer appends the last segment of the sample to a file with the others and leftovers; its steps are recorded.
std::vector<Epoch> record_append(const Sample& sample) {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  Sample first = sample;
  first.segments.pop_back();
  write_sample(path, first);
  write_bytes(path, read_bytes(path) + std::string(5000, 'x'));
  const std::string before = read_bytes(path);
  RecordingOps ops;
  const auto writer = append_writer(ops, path, 1);
  writer->write_segment(sample.segments.back().view());
  writer->commit();
  return epochs_of(before, ops.steps);
}

Sample sample_of(std::size_t segments) {
  SampleOptions options;
  options.segment_rows.assign(segments, 5);
  return make_sample(options);
}

}  // namespace

TEST_CASE("power loss at any moment of an append leaves the old or the new state") {
  // With different numbers of commits before, the new superblock goes to the one slot and to the other.
  const std::size_t segments = GENERATE(1u, 2u, 3u);
  const Sample sample = sample_of(segments);
  const std::vector<Epoch> epochs = record_append(sample);
  REQUIRE(epochs.size() == 3);  // Data, superblock, and nothing after the last fsync.
  REQUIRE(epochs[1].steps.size() == 1);
  REQUIRE(epochs[2].steps.empty());

  SECTION("every prefix of the writes") {
    Checker checker(sample, segments - 1);
    for (const Epoch& epoch : epochs) {
      std::string image = epoch.before;
      checker.check(image);
      for (const Step& step : epoch.steps) {
        apply(image, step);
        checker.check(image);
      }
    }
    CHECK(checker.saw_old > static_cast<int>(epochs[0].steps.size()));
    CHECK(checker.saw_new == 2);
  }
  SECTION("every write missing, every write alone, and each in reverse order") {
    Checker checker(sample, segments - 1);
    const std::vector<Step>& steps = epochs[0].steps;
    std::string reverse = epochs[0].before;
    for (std::size_t chosen = 0; chosen < steps.size(); ++chosen) {
      std::string without = epochs[0].before;
      for (std::size_t i = 0; i < steps.size(); ++i) {
        if (i != chosen) apply(without, steps[i]);
      }
      checker.check(without);
      std::string alone = epochs[0].before;
      apply(alone, steps[chosen]);
      checker.check(alone);
      // A truncation after the writes it was asked for before would be undone by the file system's own ordering.
      if (steps[steps.size() - 1 - chosen].call == Call::pwrite) apply(reverse, steps[steps.size() - 1 - chosen]);
      checker.check(reverse);
    }
    CHECK(checker.saw_new == 0);
  }
  SECTION("the superblock torn at every sector and in the middle of its copies") {
    Checker checker(sample, segments - 1);
    const Epoch& epoch = epochs[1];
    const Step& write = epoch.steps[0];
    REQUIRE(write.data.size() == kPage);
    constexpr std::size_t kSector = 512;
    constexpr std::size_t kSectors = kPage / kSector;
    for (unsigned subset = 0; subset < (1u << kSectors); ++subset) {
      std::string image = epoch.before;
      for (std::size_t sector = 0; sector < kSectors; ++sector) {
        if ((subset >> sector & 1u) == 0) continue;
        image.replace(write.offset + sector * kSector, kSector, write.data.substr(sector * kSector, kSector));
      }
      checker.check(image);
    }
    for (std::size_t length = 0; length <= sizeof(Superblock); ++length) {
      std::string image = epoch.before;
      image.replace(write.offset, length, write.data.substr(0, length));
      checker.check(image);
      // The second copy, torn likewise, after a first that never arrived.
      image = epoch.before;
      image.replace(write.offset + kCopyStride, length, write.data.substr(kCopyStride, length));
      checker.check(image);
    }
    CHECK(checker.images == 256 + 2 * 129);
    CHECK(checker.saw_old > 0);
    CHECK(checker.saw_new >= 192);
  }
}

TEST_CASE("a sector that a torn write destroyed leaves the other superblock") {
  const Sample sample = sample_of(2);
  const std::vector<Epoch> epochs = record_append(sample);
  Checker checker(sample, 1);
  std::string image = epochs[1].before;
  image.replace(epochs[1].steps[0].offset, kPage, std::string(kPage, '\0'));
  checker.check(image);
  CHECK(checker.saw_old == 1);
}

TEST_CASE("a new index is durable before it has its name") {
  const TempDir directory;
  const Sample sample = make_sample();
  RecordingOps ops;
  {
    const auto writer = create_writer(ops, directory.file("x.ivf"), sample.parameters, sample.centroids(), {}, false);
    writer->write_segment(sample.segments[0].view());
    CHECK_FALSE(std::filesystem::exists(directory.file("x.ivf")));
    writer->commit();
  }
  REQUIRE(ops.steps.size() > 4);
  const std::size_t n = ops.steps.size();
  CHECK(ops.steps[n - 4].call == Call::pwrite);
  CHECK(ops.steps[n - 3].call == Call::fsync);
  CHECK(ops.steps[n - 2].call == Call::rename);
  CHECK(ops.steps[n - 1].call == Call::fsync);  // The directory.
}
