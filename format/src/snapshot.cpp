// The reader: one committed generation, mapped.

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <utility>

#include "checksum.h"
#include "file_ops.h"
#include "file_state.h"
#include "frames.h"
#include "ivf/error.hpp"
#include "ivf/format/container.hpp"
#include "ivf/format/row_bits.hpp"

namespace ivf::format {
namespace {

/// A read-only map of the first bytes of a file.
class Mapping {
 public:
  Mapping(int fd, std::uint64_t size, const std::string& path) : size_(size) {
    void* map = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) throw_errno("map", path, errno);
    data_ = static_cast<const std::byte*>(map);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { ::munmap(const_cast<std::byte*>(data_), size_); }

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  const std::byte* data_;
  std::size_t size_;
};

/// Norms and radii may be infinite: those of finite vectors can exceed the largest float32.
bool not_negative(std::span<const float> values) noexcept {
  return std::all_of(values.begin(), values.end(), [](float value) { return value >= 0; });
}

bool finite_and_not_negative(std::span<const float> values) noexcept {
  return not_negative(values) &&
         std::none_of(values.begin(), values.end(), [](float value) { return std::isinf(value); });
}

Parameters parameters_of(const FileHeader& header) {
  Parameters parameters;
  parameters.kind = static_cast<IndexKind>(header.kind);
  parameters.metric = static_cast<Metric>(header.metric);
  parameters.dim = header.dim;
  parameters.nlist = header.nlist;
  parameters.seed = header.seed;
  return parameters;
}

class MappedSnapshot final : public Snapshot {
 public:
  /// `beside` as in open_beside(); empty: memory.
  MappedSnapshot(const std::string& path, unsigned threads, const std::string& beside)
      : path_(path),
        beside_(beside),
        fd_(open_for_reading(path)),
        state_(read_file_state(fd_.get(), path)),
        map_(fd_.get(), state_.superblock.committed_end, path),
        parameters_(parameters_of(state_.header)) {
    struct stat status = {};
    if (::fstat(fd_.get(), &status) != 0) throw_errno("examine", path, errno);
    file_bytes_ = static_cast<std::uint64_t>(status.st_size);
    fd_.reset();  // The map keeps the file; an open index should not use up descriptors.
    segments_.resize(state_.superblock.segments);
    for (const DirectoryEntry& entry : state_.entries) {
      if (const SectionTraits* traits = section_traits(entry.kind)) attach(entry, *traits, threads);
      describe_section(entry);
    }
    for (const SegmentView& segment : segments_) check_offsets(segment);
    check_removed();
    hash_ = hash128_hex(std::as_bytes(std::span(&state_.header, 1)), state_.directory);
  }

  const Parameters& parameters() const override { return parameters_; }
  const Planes& centroids() const override { return centroids_; }
  const std::vector<SegmentView>& segments() const override { return segments_; }
  std::uint64_t rows() const override { return state_.superblock.rows; }
  std::uint64_t removed() const override { return state_.superblock.removed; }
  std::uint64_t next_id() const override { return next_id_of(state_.superblock); }
  std::uint64_t generation() const override { return state_.superblock.generation; }
  bool compressed() const override { return state_.header.compression_level != 0; }
  int compression_level() const override { return static_cast<int>(state_.header.compression_level); }
  std::uint64_t file_bytes() const override { return file_bytes_; }
  std::uint64_t committed_bytes() const override { return state_.superblock.committed_end; }
  std::uint32_t format_version() const override { return state_.header.version; }
  const std::vector<SectionInfo>& sections() const override { return sections_; }
  std::string hash() const override { return hash_; }

  void verify_checksums(unsigned threads) const override {
    for (const DirectoryEntry& entry : state_.entries) {
      check_checksum(entry, threads);
      const auto padding = map_.bytes().subspan(entry.offset + entry.stored_bytes, kTailPadding);
      if (std::any_of(padding.begin(), padding.end(), [](std::byte value) { return value != std::byte{0}; })) {
        throw_corrupt(path_, describe(entry), "zero bytes as padding after it", "others");
      }
    }
    require(not_negative(centroids_.norms), "section centroid_norms", "norms that are numbers and not negative");
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      const SegmentView& segment = segments_[i];
      require(not_negative(segment.planes.norms), fmt::format("section norms of segment {}", i),
              "norms that are numbers and not negative");
      const auto missing = std::find(segment.ids.begin(), segment.ids.end(), idx_t{-1});
      require(missing == segment.ids.end(),
              fmt::format("section ids of segment {}, row {}", i, missing - segment.ids.begin()),
              "an id other than -1");
    }
  }

 private:
  void require(bool condition, const std::string& where, const std::string& expected) const {
    if (!condition) throw_corrupt(path_, where, expected, "another");
  }

  std::span<const std::byte> stored(const DirectoryEntry& entry) const noexcept {
    return map_.bytes().subspan(entry.offset, entry.stored_bytes);
  }

  void check_checksum(const DirectoryEntry& entry, unsigned threads) const {
    if (section_checksum(stored(entry), threads) != entry.checksum) {
      throw_corrupt(path_, describe(entry), "a matching checksum", "another");
    }
  }

  /// The raw bytes of a section, which stay valid as long as this object.
  std::span<const std::byte> load(const DirectoryEntry& entry, const SectionTraits& traits, unsigned threads) {
    // What is read whole anyway is checked at once; mapped bulk is left alone so that opening reads next to nothing.
    if (entry.compressed() || (!traits.bulk && traits.in_segment) || entry.section() == SectionKind::metadata) {
      check_checksum(entry, threads);
    }
    if (!entry.compressed()) return stored(entry);
    decoded_.push_back(decode_frames(entry, stored(entry), threads, path_, beside_));
    return decoded_.back().bytes();
  }

  template <typename T>
  static std::span<const T> typed(std::span<const std::byte> bytes) noexcept {
    // Sections and decoded buffers are aligned to 64 bytes, and sizes were checked against the item's.
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }

  void attach(const DirectoryEntry& entry, const SectionTraits& traits, unsigned threads) {
    const auto bytes = load(entry, traits, threads);
    SegmentView* segment = traits.in_segment ? &segments_[entry.segment] : nullptr;
    Planes& planes = segment != nullptr ? segment->planes : centroids_;
    switch (entry.section()) {
      case SectionKind::metadata:
        parameters_.metadata.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        break;
      case SectionKind::centroid_hi:
      case SectionKind::hi:
        planes.hi = typed<std::uint16_t>(bytes);
        break;
      case SectionKind::centroid_lo:
      case SectionKind::lo:
        planes.lo = typed<std::uint16_t>(bytes);
        break;
      case SectionKind::centroid_norms:
      case SectionKind::norms:
        planes.norms = typed<float>(bytes);
        break;
      case SectionKind::list_offsets:
        segment->offsets = typed<std::uint64_t>(bytes);
        break;
      case SectionKind::ids:
        segment->ids = typed<idx_t>(bytes);
        segment->rows = entry.items;
        break;
      case SectionKind::list_radii:
        segment->radii = typed<float>(bytes);
        if (!not_negative(segment->radii)) {
          throw_corrupt(path_, describe(entry), "radii that are numbers and not negative", "others");
        }
        break;
      case SectionKind::list_residuals:
        segment->residuals = typed<float>(bytes);
        if (!finite_and_not_negative(segment->residuals)) {
          throw_corrupt(path_, describe(entry), "residual bounds that are finite and not negative", "others");
        }
        break;
      case SectionKind::removed_rows:
        segment->removed = typed<std::uint64_t>(bytes);
        break;
    }
  }

  void check_offsets(const SegmentView& segment) const {
    const auto drop = std::is_sorted_until(segment.offsets.begin(), segment.offsets.end());
    if (segment.offsets.front() == 0 && drop == segment.offsets.end() && segment.offsets.back() == segment.rows) return;
    const std::string where = fmt::format("section list_offsets of segment {}", &segment - segments_.data());
    if (segment.offsets.front() != 0)
      throw_corrupt(path_, where, "0 first", fmt::format("{}", segment.offsets.front()));
    if (drop != segment.offsets.end()) {
      throw_corrupt(path_, where, fmt::format("offset {} to be at least {}", drop - segment.offsets.begin(), drop[-1]),
                    fmt::format("{}", *drop));
    }
    throw_corrupt(path_, where, fmt::format("{} last, the number of rows", segment.rows),
                  fmt::format("{}", segment.offsets.back()));
  }

  void check_removed() const {
    std::uint64_t removed = 0;
    for (const SegmentView& segment : segments_) {
      const std::uint64_t count = count_rows(segment.removed);
      if (!segment.removed.empty() && count == 0) {
        throw_corrupt(path_, fmt::format("section removed_rows of segment {}", &segment - segments_.data()),
                      "a removed row, or no such section", "none");
      }
      removed += count;
      if (!segment.removed.empty() && segment.rows % 64 != 0 && segment.removed.back() >> (segment.rows % 64) != 0) {
        throw_corrupt(path_, fmt::format("section removed_rows of segment {}", &segment - segments_.data()),
                      fmt::format("zero bits past row {}", segment.rows - 1), "others");
      }
    }
    if (removed != state_.superblock.removed) {
      throw_corrupt(path_, "sections removed_rows",
                    fmt::format("{} removed rows as the superblock says", state_.superblock.removed),
                    fmt::format("{}", removed));
    }
  }

  void describe_section(const DirectoryEntry& entry) {
    const SectionTraits* traits = section_traits(entry.kind);
    SectionInfo info;
    info.name = traits != nullptr ? std::string(traits->name) : fmt::format("kind {}", entry.kind);
    if (entry.segment < segments_.size()) info.segment = static_cast<std::int64_t>(entry.segment);
    info.offset = entry.offset;
    info.stored_bytes = entry.stored_bytes;
    info.raw_bytes = entry.raw_bytes;
    info.compressed = entry.compressed();
    sections_.push_back(std::move(info));
  }

  std::string path_;
  std::string beside_;
  UniqueFd fd_;
  FileState state_;
  Mapping map_;
  Parameters parameters_;
  Planes centroids_;
  std::vector<SegmentView> segments_;
  std::vector<SectionInfo> sections_;
  std::vector<AlignedBuffer> decoded_;
  std::uint64_t file_bytes_ = 0;
  std::string hash_;
};

}  // namespace

std::shared_ptr<const Snapshot> Snapshot::open(const std::string& path, unsigned threads) {
  return std::make_shared<const MappedSnapshot>(path, threads, "");
}

std::shared_ptr<const Snapshot> Snapshot::open_beside(const std::string& path, unsigned threads,
                                                      const std::string& beside) {
  return std::make_shared<const MappedSnapshot>(path, threads, beside);
}

}  // namespace ivf::format
