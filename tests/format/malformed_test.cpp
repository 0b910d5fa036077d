// Every way in which docs/format.md says that a file can be malformed: each made from a sound file by one change.

#include <zstd.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "expect_error.h"
#include "index_image.h"
#include "ivf/format/container.hpp"
#include "sample.h"
#include "temp_dir.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

namespace {

constexpr const char* kSpecification = IVF_SOURCE_DIR "/docs/format.md";

/// What reading a file means for a case.
enum class When {
  open,    ///< Snapshot::open refuses it, and so does a writer unless the damage is in a section.
  verify,  ///< verify_checksums() refuses it.
  append,  ///< A writer refuses it; readers do not.
};

struct Case {
  const char* file;  ///< Which sound file is damaged: "ivf", "flat", "zstd" or "removed".
  Repair repair;
  std::function<void(IndexImage&)> damage;
  When when = When::open;
};

/// The bytes of the current superblock, of its twin, and of the other slot are made useless.
void destroy_superblocks(IndexImage& image) {
  for (std::size_t i = kPage; i < kHeadBytes; i += kCopyStride) image.bytes()[i] ^= std::byte{1};
}

DirectoryEntry& hi(IndexImage& image) { return image.entry(SectionKind::hi); }

/// The table of frame sizes at the end of a compressed section of two frames. Nothing aligns it.
std::byte* frame_table(IndexImage& image) {
  const auto bytes = image.section<std::byte>(SectionKind::hi);
  return bytes.data() + bytes.size() - 2 * sizeof(std::uint64_t);
}

std::uint64_t frame_size(IndexImage& image, std::size_t frame) {
  std::uint64_t size;
  std::memcpy(&size, frame_table(image) + frame * sizeof size, sizeof size);
  return size;
}

void set_frame_size(IndexImage& image, std::size_t frame, std::uint64_t size) {
  std::memcpy(frame_table(image) + frame * sizeof size, &size, sizeof size);
}

/// Replaces the last frame by one with the same stored size that holds `raw_bytes` zeros (and a skippable frame as
/// filler).
void replace_last_frame(IndexImage& image, std::size_t raw_bytes, bool declare_size) {
  const std::vector<char> raw(raw_bytes);
  std::vector<char> frame(ZSTD_compressBound(raw.size()));
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, declare_size ? 1 : 0);
  const std::size_t size = ZSTD_compress2(context, frame.data(), frame.size(), raw.data(), raw.size());
  ZSTD_freeCCtx(context);
  REQUIRE_FALSE(ZSTD_isError(size));
  const std::uint64_t old_size = frame_size(image, 1);
  REQUIRE(size <= old_size);
  const auto bytes = image.section<std::byte>(SectionKind::hi);
  const std::size_t begin = frame_size(image, 0);
  const std::uint64_t table[] = {begin, size};
  std::memcpy(bytes.data() + begin, frame.data(), size);
  std::memcpy(bytes.data() + begin + size, table, sizeof table);
  hi(image).stored_bytes -= old_size - size;
}

const std::map<std::string, Case>& cases() {
  constexpr std::uint64_t kHuge = ~std::uint64_t{0} - 63;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  using enum Repair;
  static const std::map<std::string, Case> all = {
      // The head.
      {"empty", {"ivf", nothing, [](IndexImage& i) { i.bytes().clear(); }}},
      {"not-an-index", {"ivf", header, [](IndexImage& i) { i.header().magic[1] = 'X'; }}},
      {"short-head", {"ivf", nothing, [](IndexImage& i) { i.bytes().resize(kHeadBytes - 1); }}},
      {"version-newer", {"ivf", header, [](IndexImage& i) { i.header().version = 2; }}},
      {"version-zero", {"ivf", header, [](IndexImage& i) { i.header().version = 0; }}},
      {"header-checksum", {"ivf", nothing, [](IndexImage& i) { i.header().seed ^= 1; }}},
      {"header-reserved", {"ivf", header, [](IndexImage& i) { i.header().reserved[75] = 1; }}},
      {"header-page", {"ivf", nothing, [](IndexImage& i) { i.bytes()[kPage - 1] = std::byte{1}; }}},
      {"kind", {"ivf", header, [](IndexImage& i) { i.header().kind = 3; }}},
      {"metric", {"ivf", header, [](IndexImage& i) { i.header().metric = 3; }}},
      {"dim-zero", {"ivf", header, [](IndexImage& i) { i.header().dim = 0; }}},
      {"dim-large", {"ivf", header, [](IndexImage& i) { i.header().dim = kMaxDim + 1; }}},
      {"nlist-zero", {"ivf", header, [](IndexImage& i) { i.header().nlist = 0; }}},
      {"nlist-large", {"ivf", header, [](IndexImage& i) { i.header().nlist = kMaxLists + 1; }}},
      {"flat-with-lists", {"flat", header, [](IndexImage& i) { i.header().nlist = 2; }}},
      {"compression-level", {"ivf", header, [](IndexImage& i) { i.header().compression_level = 23; }}},

      // Superblocks.
      {"no-superblock", {"ivf", nothing, destroy_superblocks}},
      {"generation-zero", {"ivf", superblock,
                           [](IndexImage& i) {
                             // Into the slot where an even generation belongs.
                             Superblock zero = i.superblock();
                             zero.generation = 0;
                             seal(zero);
                             std::memcpy(i.bytes().data() + slot_offset(0), &zero, sizeof zero);
                           }}},
      {"generation-large", {"ivf", superblock, [](IndexImage& i) { i.superblock().generation |= std::uint64_t{1} << 63; }}},
      {"wrong-slot", {"ivf", superblock, [](IndexImage& i) { ++i.superblock().generation; }}},
      {"copies-differ", {"ivf", nothing,
                         [](IndexImage& i) {
                           i.superblock().rows ^= 1;
                           seal(i.superblock());
                         }}},
      {"required-feature", {"ivf", superblock, [](IndexImage& i) { i.superblock().required_features = 0x10; }}},
      {"writer-feature",
       {"ivf", superblock, [](IndexImage& i) { i.superblock().writer_required_features = 0x20; }, When::append}},
      {"removed-without-feature", {"ivf", superblock, [](IndexImage& i) { i.superblock().removed = 1; }}},
      {"next-id-without-feature", {"ivf", superblock, [](IndexImage& i) { i.superblock().next_id = 99; }}},
      {"removed-more-than-rows", {"removed", superblock, [](IndexImage& i) { i.superblock().removed = 28; }}},
      {"next-id-large", {"removed", superblock, [](IndexImage& i) { i.superblock().next_id = kMaxNextId + 1; }}},
      {"next-id-small", {"removed", superblock, [](IndexImage& i) { i.superblock().next_id = 26; }}},
      {"superblock-reserved", {"ivf", superblock, [](IndexImage& i) { i.superblock().reserved1[23] = 1; }}},
      {"slot-reserved", {"ivf", nothing, [](IndexImage& i) { i.bytes()[kHeadBytes - 1] = std::byte{1}; }}},
      {"truncated", {"ivf", nothing, [](IndexImage& i) { i.bytes().pop_back(); }}},
      {"committed-end", {"ivf", superblock, [](IndexImage& i) { i.superblock().committed_end = kHuge; }}},
      {"directory-place", {"ivf", superblock, [](IndexImage& i) { i.superblock().directory_offset += 64; }}},
      {"directory-in-head", {"ivf", superblock,
                             [](IndexImage& i) {
                               i.superblock().directory_offset = 64;
                               i.superblock().directory_bytes = i.superblock().committed_end - 64;
                             }}},
      {"directory-misaligned", {"ivf", superblock,
                                [](IndexImage& i) {
                                  i.superblock().directory_offset += 1;
                                  i.superblock().directory_bytes -= 1;
                                }}},
      {"directory-size", {"ivf", superblock,
                          [](IndexImage& i) {
                            i.superblock().committed_end -= 1;
                            i.superblock().directory_bytes -= 1;
                          }}},
      {"directory-empty", {"ivf", superblock,
                           [](IndexImage& i) {
                             i.superblock().committed_end = i.superblock().directory_offset;
                             i.superblock().directory_bytes = 0;
                           }}},

      // The directory.
      {"directory-checksum", {"ivf", nothing, [](IndexImage& i) { i.directory().generation ^= 1; }}},
      {"directory-magic", {"ivf", directory, [](IndexImage& i) { i.directory().magic[0] = 'X'; }}},
      {"directory-reserved", {"ivf", directory, [](IndexImage& i) { i.directory().reserved[0] = 1; }}},
      {"directory-generation", {"ivf", directory, [](IndexImage& i) { i.directory().generation += 2; }}},
      {"directory-rows", {"ivf", directory, [](IndexImage& i) { i.directory().rows += 1; }}},
      {"directory-segments", {"ivf", directory, [](IndexImage& i) { i.directory().segments += 1; }}},
      {"directory-sections", {"ivf", directory, [](IndexImage& i) { i.directory().sections += 1; }}},
      {"rows-total", {"ivf", directory,
                      [](IndexImage& i) {
                        i.directory().rows += 1;
                        i.superblock().rows += 1;
                      }}},
      {"segments-total", {"ivf", directory,
                          [](IndexImage& i) {
                            i.directory().segments = kHuge;
                            i.superblock().segments = kHuge;
                          }}},

      // Places and sizes of sections.
      {"section-misaligned", {"ivf", directory, [](IndexImage& i) { hi(i).offset += 32; }}},
      {"section-in-head", {"ivf", directory, [](IndexImage& i) { i.entries()[0].offset = 4096; }}},
      {"section-overlap", {"ivf", directory, [](IndexImage& i) { hi(i).offset -= 64; }}},
      {"section-order", {"ivf", directory, [](IndexImage& i) { std::swap(i.entries()[0], i.entries()[1]); }}},
      {"section-past-end", {"ivf", directory, [](IndexImage& i) { i.entries().back().stored_bytes = 1 << 20; }}},
      {"section-offset-huge", {"ivf", directory, [](IndexImage& i) { i.entries().back().offset = kHuge; }}},
      {"section-size-huge", {"ivf", directory, [](IndexImage& i) { hi(i).stored_bytes = kHuge + 63; }}},
      {"section-empty", {"ivf", directory, [](IndexImage& i) { i.entries().back().stored_bytes = 0; }}},
      {"section-padding", {"ivf", directory,
                           [](IndexImage& i) {
                             DirectoryEntry& last = i.entries().back();
                             last.stored_bytes = i.superblock().directory_offset - last.offset - 63;
                           }}},
      {"section-kind", {"ivf", directory, [](IndexImage& i) { i.entries().back().kind = 63; }}},
      {"section-flag", {"ivf", directory, [](IndexImage& i) { hi(i).flags = 4; }}},
      {"section-reserved", {"ivf", directory, [](IndexImage& i) { hi(i).reserved = 1; }}},
      {"section-not-bulk",
       {"ivf", directory, [](IndexImage& i) { i.entry(SectionKind::list_offsets).flags = kSectionCompressed; }}},
      {"section-segment", {"ivf", directory, [](IndexImage& i) { i.entries().back().segment = 2; }}},
      {"section-no-segment", {"ivf", directory, [](IndexImage& i) { i.entries()[0].segment = 0; }}},
      {"items-zero", {"ivf", directory, [](IndexImage& i) { i.entries()[0].items = 0; }}},
      {"items-huge", {"ivf", directory, [](IndexImage& i) { hi(i).items = kMaxRows + 1; }}},
      {"items-disagree", {"ivf", directory,
                          [](IndexImage& i) {
                            DirectoryEntry& norms = i.entry(SectionKind::norms);
                            norms.items -= 1;
                            norms.raw_bytes -= 4;
                            norms.stored_bytes -= 4;
                          }}},
      {"raw-size", {"ivf", directory, [](IndexImage& i) { hi(i).raw_bytes += 2; }}},
      {"stored-size", {"ivf", directory, [](IndexImage& i) { hi(i).stored_bytes -= 2; }}},
      {"plain-with-frames", {"ivf", directory, [](IndexImage& i) { hi(i).frame_bytes = kFrameBytes; }}},
      {"section-twice", {"ivf", directory,
                         [](IndexImage& i) {
                           i.entry(SectionKind::list_residuals).kind =
                               static_cast<std::uint32_t>(SectionKind::list_radii);
                         }}},
      {"section-missing", {"ivf", directory,
                           [](IndexImage& i) {
                             hi(i).flags = kSectionOptional;
                             hi(i).kind = 63;
                           }}},
      {"centroids-in-flat", {"flat", directory,
                             [](IndexImage& i) {
                               // The metadata of this file are as long as one centroid.
                               i.entries()[0].kind = static_cast<std::uint32_t>(SectionKind::centroid_hi);
                               i.entries()[0].items = 1;
                             }}},

      // Values that are checked when the file is opened.
      {"removed-in-older", {"removed", superblock,
                            [](IndexImage& i) {
                              i.superblock().required_features = 0;
                              i.superblock().removed = i.superblock().next_id = 0;
                            }}},
      {"removed-size", {"removed", directory,
                        [](IndexImage& i) {
                          DirectoryEntry& removed = i.entry(SectionKind::removed_rows);
                          removed.items = 2;
                          removed.raw_bytes = removed.stored_bytes = 16;
                        }}},
      {"removed-checksum",
       {"removed", nothing, [](IndexImage& i) { i.section<std::uint64_t>(SectionKind::removed_rows)[0] ^= 1; }}},
      {"removed-count",
       {"removed", sections, [](IndexImage& i) { i.section<std::uint64_t>(SectionKind::removed_rows)[0] ^= 1; }}},
      {"removed-none",
       {"removed", sections, [](IndexImage& i) { i.section<std::uint64_t>(SectionKind::removed_rows)[0] = 0; }}},
      {"removed-past-end",
       {"removed", sections,
        [](IndexImage& i) { i.section<std::uint64_t>(SectionKind::removed_rows)[0] |= std::uint64_t{1} << 20; }}},
      {"metadata-checksum",
       {"ivf", nothing, [](IndexImage& i) { i.section<char>(SectionKind::metadata)[0] ^= 1; }}},
      {"offsets-checksum",
       {"ivf", nothing, [](IndexImage& i) { i.section<std::uint64_t>(SectionKind::list_offsets)[1] ^= 1; }}},
      {"offsets-first",
       {"ivf", sections, [](IndexImage& i) { i.section<std::uint64_t>(SectionKind::list_offsets)[0] = 1; }}},
      {"offsets-fall",
       {"ivf", sections, [](IndexImage& i) { i.section<std::uint64_t>(SectionKind::list_offsets)[2] = 1; }}},
      {"offsets-last",
       {"ivf", sections, [](IndexImage& i) { i.section<std::uint64_t>(SectionKind::list_offsets).back() += 1; }}},
      {"radii-nan", {"ivf", sections, [](IndexImage& i) { i.section<float>(SectionKind::list_radii)[0] = kNan; }}},
      {"residuals-negative",
       {"ivf", sections, [](IndexImage& i) { i.section<float>(SectionKind::list_residuals)[0] = -1; }}},

      // Compressed sections.
      {"compressed-checksum", {"zstd", nothing, [](IndexImage& i) { i.section<char>(SectionKind::hi)[50] ^= 1; }}},
      {"frame-bytes", {"zstd", directory, [](IndexImage& i) { hi(i).frame_bytes += 1; }}},
      {"frame-bytes-small", {"zstd", directory, [](IndexImage& i) { hi(i).frame_bytes = 2048; }}},
      {"frame-bytes-large", {"zstd", directory, [](IndexImage& i) { hi(i).frame_bytes = 1 << 27; }}},
      {"frame-expansion", {"zstd", directory,
                           [](IndexImage& i) { hi(i).stored_bytes = hi(i).raw_bytes / kMaxExpansion; }}},
      {"frame-room", {"zstd", directory,
                      [](IndexImage& i) {
                        hi(i).frame_bytes = kMinFrameBytes;
                        hi(i).stored_bytes = hi(i).raw_bytes / kMinFrameBytes * 9 - 1;
                      }}},
      {"frame-empty", {"zstd", sections, [](IndexImage& i) { set_frame_size(i, 0, 0); }}},
      {"frame-past-end", {"zstd", sections, [](IndexImage& i) { set_frame_size(i, 1, frame_size(i, 1) + 1); }}},
      {"frame-size-huge", {"zstd", sections, [](IndexImage& i) { set_frame_size(i, 1, ~std::uint64_t{0}); }}},
      {"frame-not-zstd", {"zstd", sections, [](IndexImage& i) { i.section<char>(SectionKind::hi)[0] ^= 1; }}},
      {"frame-cut", {"zstd", sections,
                     [](IndexImage& i) {
                       set_frame_size(i, 0, frame_size(i, 0) - 1);
                       set_frame_size(i, 1, frame_size(i, 1) + 1);
                     }}},
      {"frame-trailing", {"zstd", sections,
                          [](IndexImage& i) {
                            // One more byte between the last frame and the table.
                            const std::uint64_t table[] = {frame_size(i, 0), frame_size(i, 1)};
                            hi(i).stored_bytes += 1;
                            std::memcpy(frame_table(i), table, sizeof table);
                          }}},
      {"frame-content-size", {"zstd", sections, [](IndexImage& i) { replace_last_frame(i, 1 << 25, true); }}},
      {"frame-content-unknown", {"zstd", sections, [](IndexImage& i) { replace_last_frame(i, 100, false); }}},
      {"frame-data", {"zstd", sections,
                      [](IndexImage& i) {
                        // Behind frame header (9 bytes) and block header (3): literals that re-use the Huffman table of
                        // an earlier block, in the first block.
                        i.section<unsigned char>(SectionKind::hi)[12] |= 0x03;
                      }}},

      // Values that only verification reads.
      {"bulk-checksum",
       {"ivf", nothing, [](IndexImage& i) { i.section<std::uint16_t>(SectionKind::hi)[0] ^= 1; }, When::verify}},
      {"centroid-checksum",
       {"ivf", nothing, [](IndexImage& i) { i.section<std::uint16_t>(SectionKind::centroid_hi)[0] ^= 1; },
        When::verify}},
      {"padding", {"ivf", nothing,
                   [](IndexImage& i) { i.bytes()[hi(i).offset + hi(i).stored_bytes + 63] = std::byte{1}; },
                   When::verify}},
      {"id-missing",
       {"ivf", sections, [](IndexImage& i) { i.section<idx_t>(SectionKind::ids)[3] = -1; }, When::verify}},
      {"norm-nan", {"ivf", sections, [](IndexImage& i) { i.section<float>(SectionKind::norms)[0] = kNan; },
                    When::verify}},
      {"norm-negative",
       {"ivf", sections, [](IndexImage& i) { i.section<float>(SectionKind::norms)[0] = -1; }, When::verify}},
      {"centroid-norm-nan",
       {"ivf", sections, [](IndexImage& i) { i.section<float>(SectionKind::centroid_norms)[0] = kNan; },
        When::verify}},
  };
  return all;
}

/// Case and words of the error, from the rows "| `case` | ... | words |" of the specification.
std::map<std::string, std::string> documented_cases() {
  std::map<std::string, std::string> documented;
  std::ifstream file(kSpecification);
  REQUIRE(file.good());
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("| `", 0) != 0) continue;
    const std::size_t name_end = line.find('`', 3);
    const std::size_t words_begin = line.rfind("| ", line.size() - 3) + 2;
    REQUIRE(line.substr(line.size() - 2) == " |");
    documented[line.substr(3, name_end - 3)] = line.substr(words_begin, line.size() - 2 - words_begin);
  }
  return documented;
}

/// The sound files that the cases damage.
class Sources {
 public:
  Sources() {
    write_sample(path("ivf"), make_sample());
    SampleOptions flat;
    flat.kind = IndexKind::flat;
    flat.metadata = std::string(2 * flat.dim, ' ');
    write_sample(path("flat"), make_sample(flat));
    SampleOptions large;
    large.segment_rows = {(kFrameBytes + kFrameBytes / 4) / (2 * large.dim)};
    Writer::Options compress;
    compress.compress = true;
    write_sample(path("zstd"), make_sample(large), compress);
    SampleOptions removed;
    removed.removed = true;
    write_sample(path("removed"), make_sample(removed));
  }
  std::string path(const std::string& name) const { return directory_.file(name); }

 private:
  TempDir directory_;
};

}  // namespace

TEST_CASE("the specification and the tests name the same malformed files") {
  std::vector<std::string> documented;
  for (const auto& [name, words] : documented_cases()) documented.push_back(name);
  std::vector<std::string> tested;
  for (const auto& [name, test] : cases()) tested.push_back(name);
  CHECK(documented == tested);
}

TEST_CASE("each malformed file is refused with the documented error") {
  const Sources sources;
  const std::map<std::string, std::string> documented = documented_cases();
  const std::string damaged = sources.path("damaged");
  for (const auto& [name, test] : cases()) {
    INFO("case " << name);
    const auto found = documented.find(name);
    REQUIRE(found != documented.end());
    const std::string& words = found->second;
    REQUIRE(words.size() > 3);
    Snapshot::open(sources.path(test.file))->verify_checksums();
    IndexImage image(sources.path(test.file));
    test.damage(image);
    image.repair(test.repair);
    image.write(damaged);
    if (test.when == When::open) {
      expect_error(ErrorKind::corrupt, words, [&] { Snapshot::open(damaged, 2); });
    } else {
      const auto snapshot = Snapshot::open(damaged);
      if (test.when == When::verify) {
        expect_error(ErrorKind::corrupt, words, [&] { snapshot->verify_checksums(2); });
      } else {
        snapshot->verify_checksums();
        expect_error(ErrorKind::corrupt, words, [&] { Writer::append(damaged); });
      }
    }
  }
}

TEST_CASE("a writer refuses a malformed head or directory and leaves the file alone") {
  const Sources sources;
  const std::string damaged = sources.path("damaged");
  for (const auto& [name, test] : cases()) {
    if (test.repair == Repair::sections || test.when == When::verify) continue;
    // Writers do not read these sections.
    if (name == "offsets-checksum" || name == "compressed-checksum" || name == "removed-checksum") continue;
    INFO("case " << name);
    IndexImage image(sources.path(test.file));
    test.damage(image);
    image.repair(test.repair);
    image.write(damaged);
    const std::string before = read_bytes(damaged);
    expect_error(ErrorKind::corrupt, "", [&] { Writer::append(damaged); });
    CHECK(read_bytes(damaged) == before);
  }
}

TEST_CASE("what version 1 may ignore is ignored and kept by a writer") {
  const Sources sources;
  const std::string path = sources.path("ivf");
  IndexImage image(path);
  image.superblock().optional_features = 0x40;
  DirectoryEntry& unknown = image.entry(SectionKind::list_residuals, 1);
  unknown.kind = 60;
  unknown.flags = kSectionOptional | 0x100;
  image.repair(Repair::directory);
  image.write(path);

  Sample sample = make_sample();
  sample.segments[1].residuals.clear();
  {
    const auto snapshot = Snapshot::open(path);
    snapshot->verify_checksums();
    CHECK(holds(*snapshot, sample));
  }
  sample.segments.push_back(make_segment(sample.parameters, 5, 9, true, true));
  const auto writer = Writer::append(path);
  writer->write_segment(sample.segments.back().view());
  writer->commit();
  const auto snapshot = Snapshot::open(path);
  snapshot->verify_checksums();
  CHECK(holds(*snapshot, sample));
  IndexImage after(path);
  CHECK(after.superblock().optional_features == 0x40);
  std::size_t kept = 0;
  for (const DirectoryEntry& entry : after.entries()) kept += entry.kind == 60 ? 1 : 0;
  CHECK(kept == 1);
}
