// Index files: opening, verifying and searching whatever the input describes, appending to it and writing it anew.
//
// The input is not a file but what a file is made of: which checksums to repair, header, a superblock for each slot,
// and everything from offset 12288 on. The pages of zeros between them are put in by the harness, which also repairs
// the checksums, so that nearly every input reaches the structure behind them.

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "checksum.h"
#include "fuzz.h"
#include "ivf/format/container.hpp"
#include "ivf/index.hpp"
#include "ivf/interchange.hpp"
#include "ivf/maintenance.hpp"
#include "layout.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::fuzz;

namespace {

RunOptions one_thread() {
  RunOptions options;
  options.threads = 1;
  return options;
}

constexpr std::size_t kPieces = sizeof(FileHeader) + 2 * sizeof(Superblock);

class Image {
 public:
  explicit Image(Choices& input) : repairs_(input.byte()) {
    const std::string_view pieces = input.take(kPieces);
    const std::string_view body = input.rest();
    bytes_.resize(kHeadBytes + body.size());
    std::string padded(pieces);
    padded.resize(kPieces);
    std::memcpy(bytes_.data(), padded.data(), sizeof(FileHeader));
    for (std::size_t slot = 0; slot < kSlotCount; ++slot) {
      const char* from = padded.data() + sizeof(FileHeader) + slot * sizeof(Superblock);
      for (std::size_t copy = 0; copy < kSlotCopies; ++copy) {
        std::memcpy(bytes_.data() + kPage * (1 + slot) + copy * kCopyStride, from, sizeof(Superblock));
      }
    }
    std::memcpy(bytes_.data() + kHeadBytes, body.data(), body.size());
    for (std::size_t slot = 0; slot < kSlotCount; ++slot) repair(kPage * (1 + slot));
    if ((repairs_ & 8) == 0) seal(at<FileHeader>(0));
  }

  const std::string& bytes() const noexcept { return bytes_; }

 private:
  template <typename T>
  T& at(std::size_t offset) {
    return *reinterpret_cast<T*>(bytes_.data() + offset);
  }

  bool inside(std::uint64_t offset, std::uint64_t size) const {
    return offset <= bytes_.size() && size <= bytes_.size() - offset;
  }

  /// From the sections up, so that each checksum covers what is repaired below it.
  void repair(std::size_t slot) {
    Superblock superblock = at<Superblock>(slot);
    if (superblock.magic != kSuperblockMagic) return;
    if (inside(superblock.directory_offset, superblock.directory_bytes) &&
        superblock.directory_bytes >= sizeof(DirectoryHeader)) {
      const std::size_t count = superblock.directory_bytes / sizeof(DirectoryEntry) - 1;
      for (std::size_t i = 0; (repairs_ & 1) == 0 && i < count; ++i) {
        DirectoryEntry entry;
        char* place = bytes_.data() + superblock.directory_offset + (i + 1) * sizeof entry;
        std::memcpy(&entry, place, sizeof entry);
        if (!inside(entry.offset, entry.stored_bytes)) continue;
        entry.checksum =
            section_checksum(std::as_bytes(std::span(bytes_)).subspan(entry.offset, entry.stored_bytes), 1);
        std::memcpy(place, &entry, sizeof entry);
      }
      if ((repairs_ & 2) == 0) {
        superblock.directory_checksum =
            checksum64(bytes_.data() + superblock.directory_offset, superblock.directory_bytes);
      }
    }
    if ((repairs_ & 4) == 0) seal(superblock);
    for (std::size_t copy = 0; copy < kSlotCopies; ++copy) at<Superblock>(slot + copy * kCopyStride) = superblock;
  }

  std::uint8_t repairs_;  ///< Bits: what is *not* repaired.
  std::string bytes_;
};

/// Everything that the snapshot hands out is there to be read.
void touch(const Snapshot& snapshot) {
  std::uint64_t sum = 0;
  const auto add = [&](const auto& span) {
    for (const std::byte value : std::as_bytes(span)) sum += static_cast<std::uint64_t>(value);
  };
  const auto add_planes = [&](const Planes& planes) {
    add(planes.hi);
    add(planes.lo);
    add(planes.norms);
  };
  add_planes(snapshot.centroids());
  std::uint64_t rows = 0;
  for (const SegmentView& segment : snapshot.segments()) {
    add(segment.offsets);
    add(segment.ids);
    add_planes(segment.planes);
    add(segment.radii);
    add(segment.residuals);
    add(segment.removed);
    require(segment.offsets.size() == snapshot.parameters().nlist + 1, "a segment has all its list offsets");
    require(segment.offsets.back() == segment.rows && segment.ids.size() == segment.rows, "a segment has all its rows");
    rows += segment.rows;
  }
  require(rows == snapshot.rows(), "the segments hold the rows");
  volatile std::uint64_t sink = sum;
  static_cast<void>(sink);
}

/// No value in a file that opens can lead a search out of its memory, not even in a file that would not verify.
void search(const std::string& path, std::size_t dim) {
  const auto index = load_index(path, one_thread());
  if (dim > 512) return;
  std::vector<float> queries(3 * dim);
  for (std::size_t i = 0; i < queries.size(); ++i) queries[i] = static_cast<float>(i % 5) - 1;
  SearchParams params;
  params.threads = 1;
  params.k = 5;
  params.nprobe = 3;
  for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
    params.mode = mode;
    const SearchResult result = index->search({queries.data(), 3, dim}, params);
    require(result.ids.size() == 15 && result.distances.size() == 15, "a search returns k results a query");
  }
  index->search_exact({queries.data(), 1, dim}, params);
  index->range_search({queries.data(), 1, dim}, 2.0f, params);
}

/// What is appended to a file that opens is there afterwards, and all that was there before.
void append(const std::string& path, const Snapshot& before) {
  const Parameters& parameters = before.parameters();
  if (parameters.dim > 512 || parameters.nlist > 512) return;
  std::vector<std::uint64_t> offsets(parameters.nlist + 1, 1);
  offsets[0] = 0;
  const std::array<idx_t, 1> ids = {7};
  const std::vector<std::uint16_t> plane(parameters.dim, 0x3f80);
  const std::array<float, 1> norms = {static_cast<float>(parameters.dim)};
  const std::vector<float> radii(parameters.kind == IndexKind::ivf ? parameters.nlist : 0, 1.0f);
  SegmentView segment;
  segment.rows = 1;
  segment.offsets = offsets;
  segment.ids = ids;
  segment.planes = {plane, {}, norms};
  segment.radii = radii;
  {
    const auto writer = Writer::append(path);
    require(writer->rows() == before.rows(), "a writer finds what a reader finds");
    writer->write_segment(segment);
    writer->commit();
  }
  const auto after = Snapshot::open(path);
  require(after->rows() == before.rows() + 1 && after->segments().size() == before.segments().size() + 1 &&
              after->generation() == before.generation() + 1,
          "a commit adds one segment");
  touch(*after);
}

/// The rows of a file that opens can be read, removed and written anew.
void rewrite(const std::string& path) {
  std::uint64_t rows = 0;
  std::vector<IdRange> some;
  {
    const StoredIndex stored(path, one_thread());
    if (stored.dim() > 512 || stored.nlist() > 512) return;
    const auto count = [&](std::span<const idx_t> ids, MatrixView values) {
      require(ids.size() == values.rows, "a row has an id");
      rows += ids.size();
      if (some.empty() && !ids.empty()) some.push_back({ids.front(), ids.front()});
    };
    stored.visit_rows(count);
    require(rows == stored.rows(), "all rows come");
  }
  std::uint64_t removed = 0;
  {
    FileAppender appender(path, one_thread());
    if (!some.empty()) removed = appender.remove(IdSet(some));
    appender.commit();
  }
  CompactOptions options;
  options.threads = 1;
  const RewriteReport report = compact_index(path, path, options);
  require(report.rows == rows - removed, "what was not removed is left");
}

}  // namespace

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  Choices input(data, size);
  const Image image(input);
  const MemoryFile file(image.bytes());
  std::shared_ptr<const Snapshot> snapshot;
  const bool opens = accepted([&] { snapshot = Snapshot::open(file.path()); });
  const bool sound = opens && accepted([&] { snapshot->verify_checksums(); });
  const bool engine = accepted([&] { verify_index(file.path(), true, one_thread()); });
  require(!engine || sound, "what the engine calls sound is sound to the container");
  if (!opens) return 0;
  touch(*snapshot);
  accepted([&] { search(file.path(), snapshot->parameters().dim); });
  const bool appends = accepted([&] { append(file.path(), *snapshot); });
  const bool rewrites = accepted([&] { rewrite(file.path()); });
  require(!engine || (appends && rewrites), "what the engine calls sound can be added to and written anew");
  return 0;
}
