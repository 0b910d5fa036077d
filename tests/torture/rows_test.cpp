// Searches among 2^40 rows: the positions of rows and the offsets of bytes need more than 32 bits. The file is sparse:
// a list of zeros that is longer than any disk, and behind it the lists of a small index.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "../format/index_image.h"
#include "checksum.h"
#include "file_ops.h"
#include "ivf/index.hpp"
#include "layout.h"
#include "support/address_space_limit.h"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using namespace ivf;
using namespace ivf::format;

namespace {

constexpr std::size_t kRows = 100;
constexpr idx_t kFirstId = 1000;

/// Three lists: around -1000, which has no rows, around 0 and around 850. All values have their eight leading bits
/// only, so that there is no plane of others, and the file is no longer than ext4 allows.
IndexIVFFlat small_index() {
  IndexIVFFlat index(1, 3, Metric::l2);
  const std::vector<float> centroids = {-1000, 0, 850};
  index.set_centroids({centroids.data(), 3, 1});
  std::vector<float> rows(kRows);
  for (std::size_t i = 0; i < kRows; ++i) rows[i] = static_cast<float>(i % 3 == 0 ? 800 + i / 3 * 4 : i);
  std::vector<idx_t> ids(kRows);
  std::iota(ids.begin(), ids.end(), kFirstId);
  index.add_with_ids({rows.data(), kRows, 1}, ids);
  return index;
}

/// A new file, written at any place.
class SparseFile {
 public:
  explicit SparseFile(const std::string& path)
      : path_(path), fd_(FileOps::system(), ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) {}
  /// False when the file system has no files that long.
  bool resize(std::uint64_t size) const { return ::ftruncate(fd_.get(), static_cast<off_t>(size)) == 0; }
  void write(const void* data, std::size_t size, std::uint64_t offset) const {
    pwrite_fully(FileOps::system(), fd_.get(), data, size, offset, path_);
  }

 private:
  std::string path_;
  UniqueFd fd_;
};

/// Writes the index at `small` again with `zeros` rows more, all of them in its first list.
bool write_with_zeros(const std::string& small, const std::string& large, std::uint64_t zeros) {
  test::IndexImage image(small);
  const std::uint32_t dim = image.header().dim;
  const SparseFile file(large);
  std::vector<DirectoryEntry> entries(image.entries().begin(), image.entries().end());
  std::uint64_t end = kHeadBytes;
  struct Piece {
    std::uint64_t offset;
    const std::byte* data;
    std::size_t size;
  };
  std::vector<Piece> pieces;
  auto offsets = image.section<std::uint64_t>(SectionKind::list_offsets);
  for (std::size_t list = 1; list < offsets.size(); ++list) offsets[list] += zeros;
  for (DirectoryEntry& entry : entries) {
    const std::byte* data = image.bytes().data() + entry.offset;
    const auto size = static_cast<std::size_t>(entry.stored_bytes);
    const SectionTraits& traits = *section_traits(entry.kind);
    entry.offset = end;
    if (traits.bulk && traits.in_segment) {
      REQUIRE(entry.items == kRows);
      entry.items += zeros;
      entry.raw_bytes = entry.stored_bytes = raw_bytes_of(traits, entry.items, dim);
    } else if (entry.kind == static_cast<std::uint32_t>(SectionKind::list_offsets)) {
      entry.checksum = section_checksum(std::as_bytes(std::span(offsets)), 1);
    }
    pieces.push_back({entry.offset + entry.stored_bytes - size, data, size});
    end = next_section_offset(entry.offset + entry.stored_bytes);
  }
  DirectoryHeader header = image.directory();
  header.rows += zeros;
  Superblock superblock = image.superblock();
  superblock.rows += zeros;
  std::vector<std::byte> directory(sizeof header + entries.size() * sizeof(DirectoryEntry));
  std::memcpy(directory.data(), &header, sizeof header);
  std::memcpy(directory.data() + sizeof header, entries.data(), directory.size() - sizeof header);
  superblock.directory_offset = end;
  superblock.directory_bytes = directory.size();
  superblock.directory_checksum = checksum64(directory.data(), directory.size());
  superblock.committed_end = end + directory.size();
  seal(superblock);
  if (!file.resize(superblock.committed_end)) return false;
  const auto page = slot_page(superblock);
  file.write(&image.header(), sizeof(FileHeader), 0);
  file.write(page.data(), page.size(), slot_offset(superblock.generation));
  file.write(directory.data(), directory.size(), end);
  for (const Piece& piece : pieces) file.write(piece.data, piece.size, piece.offset);
  return true;
}

SearchParams params_of(std::size_t k, std::size_t nprobe, SearchMode mode, unsigned threads) {
  SearchParams params;
  params.k = k;
  params.nprobe = nprobe;
  params.mode = mode;
  params.threads = threads;
  return params;
}

constexpr SearchMode kModes[] = {SearchMode::matrix, SearchMode::csr, SearchMode::automatic};
constexpr float kQueries[] = {40, 860, 500, 20, 799};
constexpr std::size_t kQueryCount = std::size(kQueries);

/// The small index, and the same behind as many zeros as the file system has room for, up to `zeros`.
struct Pair {
  explicit Pair(std::uint64_t zeros) {
    const std::string path = directory.file("small.ivf"), large_path = directory.file("large.ivf");
    small_index().save(path);
    while (zeros > 0 && !write_with_zeros(path, large_path, zeros)) zeros /= 2;
    small = load_index(path);
    large = load_index(large_path);
    REQUIRE(large->size() == zeros + kRows);
    WARN("a file of " << large->size() << " rows");
  }
  bool beyond_32_bits() const { return large->size() > std::uint64_t{1} << 32; }

  support::TemporaryDirectory directory;
  std::unique_ptr<Index> small, large;
};

}  // namespace

TEST_CASE("rows: lists that lie behind 2^40 rows are searched as those of a small index") {
  // A sanitizer leaves no room for 14 TiB.
  const Pair pair(support::kSanitized ? std::uint64_t{1} << 34 : kMaxRows - kRows);
  if (!pair.beyond_32_bits()) return;
  const MatrixView view(kQueries, kQueryCount, 1);
  for (const SearchMode mode : kModes) {
    for (const unsigned threads : {1u, 2u}) {
      INFO("mode " << static_cast<int>(mode) << ", threads " << threads);
      for (const std::uint64_t cap : {0u, 70u}) {
        SearchParams params = params_of(20, 2, mode, threads);
        params.max_codes = cap;
        const auto expected = pair.small->search(view, params), found = pair.large->search(view, params);
        CHECK(found.ids == expected.ids);
        CHECK(found.distances == expected.distances);
        // With several threads, which lists are pruned depends on who comes first.
        if (threads == 1) CHECK(found.stats.rows_scanned == expected.stats.rows_scanned);
        CHECK(std::count(expected.ids.begin(), expected.ids.end(), -1) == 0);
      }
      const auto expected = pair.small->range_search(view, 900, params_of(1, 2, mode, threads));
      const auto found = pair.large->range_search(view, 900, params_of(1, 2, mode, threads));
      CHECK(found.lims == expected.lims);
      CHECK(found.ids == expected.ids);
      CHECK(found.ids.size() > 50);
    }
  }
}

TEST_CASE("rows: a list of 2^39 rows is cut where a cap says") {
  const Pair pair(std::uint64_t{1} << (support::kSanitized ? 33 : 39));
  if (!pair.beyond_32_bits()) return;
  // The long list comes last, and the cap leaves its first rows: zeros, like their ids.
  constexpr std::size_t kZeros = 50;
  for (const SearchMode mode : kModes) {
    SearchParams params = params_of(kRows + kZeros, 3, mode, 2);
    params.max_codes = kRows + kZeros;
    const auto capped = pair.large->search(MatrixView(kQueries, kQueryCount, 1), params);
    CHECK(capped.stats.rows_scanned == kQueryCount * (kRows + kZeros));
    for (std::size_t q = 0; q < kQueryCount; ++q) {
      std::size_t of_zeros = 0;
      for (std::size_t i = q * params.k; i < (q + 1) * params.k; ++i) {
        if (capped.ids[i] != 0) continue;
        ++of_zeros;
        CHECK(capped.distances[i] == kQueries[q] * kQueries[q]);
      }
      CHECK(of_zeros == kZeros);
    }
  }
}
