#pragma once
/// \file
/// The on-disk container: centroids and CSR lists in append-only segments behind two alternating superblocks.
/// docs/format.md is the contract. This room knows nothing of search.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ivf/types.hpp"

namespace ivf::format {

/// What an index holds.
enum class IndexKind : std::uint32_t {
  flat = 1,  ///< One list, no centroids.
  ivf = 2,   ///< nlist centroids and as many lists.
};

/// What is fixed when an index is created.
struct Parameters {
  IndexKind kind = IndexKind::ivf;
  Metric metric = Metric::l2;
  std::uint32_t dim = 0;
  std::uint64_t nlist = 1;  ///< 1 for a flat index.
  std::uint64_t seed = 0;   ///< Seed of the training; 0 when there was none.
  std::string metadata;     ///< UTF-8 JSON object: how the index was trained. Free for the writer, opaque here.
};

/// float32 rows split into two planes of uint16, row-major, stride `dim`.
/// hi[i] = (bits + 0x8000) >> 16 (the value rounded to bf16), lo[i] = bits & 0xffff;
/// bits = (uint32(hi) << 16) + int32(int16(lo)).
struct Planes {
  std::span<const std::uint16_t> hi;  ///< rows*dim. Readers get at least 64 readable bytes past the end.
  std::span<const std::uint16_t> lo;  ///< rows*dim, or empty when every lo is zero.
  std::span<const float> norms;       ///< rows; the squared norm, canonical inner product of the row with itself.
};

/// The rows of one segment, grouped by list. Rows of list l are offsets[l] .. offsets[l+1].
/// Views into memory that somebody else owns (a Snapshot, or the writer's caller).
struct SegmentView {
  std::uint64_t rows = 0;
  std::span<const std::uint64_t> offsets;  ///< nlist + 1, monotone, first 0, last rows.
  std::span<const idx_t> ids;              ///< rows; none is -1.
  Planes planes;
  std::span<const float> radii;  ///< nlist; an upper bound of the distance (not squared) of a list's rows to its
                                 ///< centroid, 0 for an empty list. Empty span for a flat index.
  std::span<const float>
      residuals;  ///< nlist; an upper bound of ‖x−x̂‖/‖x‖ over a list's rows, where x̂ is the hi plane
                  ///< (0 when lo is dropped or the list is empty). A section of the file like radii,
                  ///< and present for flat indexes too. Empty: unknown, 1/256 holds for any normal float.
  std::span<const std::uint64_t> removed;  ///< Rows that are no longer there (row_bits.hpp); empty: none was removed.
};

/// A segment whose rows are made while they are written, so that it may be larger than memory.
struct SegmentSource {
  /// Writes values first .. first + out.size() - 1 of a section (of rows, or of rows * dim) to `out`. It is called on
  /// several threads at once, in any order, and for some values more than once. It may throw to give up.
  template <class T>
  using Make = std::function<void(std::uint64_t first, std::span<T> out)>;

  std::uint64_t rows = 0;
  std::span<const std::uint64_t> offsets;  ///< These three as in SegmentView.
  std::span<const float> radii;
  std::span<const float> residuals;
  Make<idx_t> ids;
  Make<float> norms;
  Make<std::uint16_t> hi;
  Make<std::uint16_t> lo;  ///< Empty when every lo is zero.
};

/// Sizes and places, for `info`.
struct SectionInfo {
  std::string name;
  std::int64_t segment = -1;  ///< -1 for sections that belong to no segment.
  std::uint64_t offset = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t raw_bytes = 0;
  bool compressed = false;
};

/// One committed generation of an index file, opened for reading. Later commits by a writer do not disturb it.
/// Uncompressed sections are used from the memory map; compressed ones are decoded into private memory.
class Snapshot {
 public:
  /// Opens and checks the structure (sizes, offsets, counts) and the checksums of everything small (superblock,
  /// directory, offsets, radii) and of what is compressed; verify_checksums() checks the rest. `threads` decode
  /// compressed sections. Throws Error(corrupt) naming file, offset, expected and found; Error(failed) when the file
  /// cannot be opened.
  static std::shared_ptr<const Snapshot> open(const std::string& path, unsigned threads = 1);
  /// The same in bounded memory: what is compressed is decoded into a file without a name in the directory of `beside`.
  static std::shared_ptr<const Snapshot> open_beside(const std::string& path, unsigned threads,
                                                     const std::string& beside);
  virtual ~Snapshot() = default;

  virtual const Parameters& parameters() const = 0;
  virtual const Planes& centroids() const = 0;  ///< nlist rows; empty spans for a flat index.
  virtual const std::vector<SegmentView>& segments() const = 0;
  virtual std::uint64_t rows() const = 0;     ///< Stored, the removed ones counted in.
  virtual std::uint64_t removed() const = 0;  ///< Of those, the ones that were removed.
  virtual std::uint64_t next_id() const = 0;  ///< The id of the next row whose writer does not name one.
  virtual std::uint64_t generation() const = 0;
  virtual bool compressed() const = 0;
  virtual int compression_level() const = 0;  ///< 0: sections are stored as they are.
  virtual std::uint64_t file_bytes() const = 0;
  /// Bytes that this generation uses; file_bytes() may be larger by leftovers of an interrupted writer.
  virtual std::uint64_t committed_bytes() const = 0;
  virtual std::uint32_t format_version() const = 0;
  virtual const std::vector<SectionInfo>& sections() const = 0;
  /// A 128-bit hash (hex) of the committed state as recorded by its checksums: equal files, equal hash.
  virtual std::string hash() const = 0;
  /// Reads every byte: checks the checksum of every section, that padding is zero, that no id is -1, and that norms,
  /// radii and residuals are finite and not negative. Throws Error(corrupt) at the first that is wrong.
  virtual void verify_checksums(unsigned threads = 1) const = 0;
};

/// The writer's lock of an index file: while it is held nobody else commits to the file or replaces it, so that a
/// snapshot opened after it stays the newest.
class WriteLock {
 public:
  /// Locks the file, if there is one. Throws Error(failed) when a writer holds the lock.
  static std::unique_ptr<WriteLock> take(const std::string& path);
  virtual ~WriteLock() = default;
  virtual const std::string& path() const = 0;
};

/// Writes an index file: creates one, or appends segments to one.
class Writer {
 public:
  struct Options {
    bool compress = false;  ///< Store bulk sections as zstd frames.
    int level = 3;          ///< zstd level.
    unsigned threads = 1;   ///< For compression and checksums.
  };
  /// Starts a new index under a temporary name; the first commit() renames it into place. An existing file at `path` is
  /// refused (Error(misuse)) unless `replace`. `centroids` is empty for a flat index.
  static std::unique_ptr<Writer> create(const std::string& path, const Parameters& parameters, const Planes& centroids,
                                        const Options& options, bool replace);
  /// The same for a file that was locked before, and is replaced if it is there.
  static std::unique_ptr<Writer> replace(std::unique_ptr<WriteLock> lock, const Parameters& parameters,
                                         const Planes& centroids, const Options& options);
  /// Opens an index to append to: takes the writer's lock (Error(failed) saying so when another writer holds it) and
  /// reclaims leftovers past the committed end. Compression follows the file's own setting.
  static std::unique_ptr<Writer> append(const std::string& path, unsigned threads = 1);
  virtual ~Writer() = default;

  virtual const Parameters& parameters() const = 0;
  /// Writes a segment after the end of the file; nobody sees it before commit(). A segment of zero rows is skipped.
  virtual void write_segment(const SegmentView& segment) = 0;
  /// The same in bounded memory: a few MiB for each of the writer's threads, whatever the segment's size.
  virtual void stream_segment(const SegmentSource& segment) = 0;
  /// Marks rows of a segment, committed or pending, as removed from the next commit on: those of `removed`
  /// (row_bits.hpp) and no others.
  virtual void set_removed(std::uint64_t segment, std::span<const std::uint64_t> removed) = 0;
  /// Makes everything written durable and visible, atomically. May be called again after more segments.
  virtual void commit() = 0;
  virtual std::uint64_t rows() const = 0;      ///< Committed and pending rows, the removed ones counted in.
  virtual std::uint64_t segments() const = 0;  ///< Committed and pending.
  /// The id of the next row whose writer does not name one: it rises by one with every row written.
  virtual std::uint64_t next_id() const = 0;
  virtual void set_next_id(std::uint64_t next_id) = 0;
  virtual std::uint64_t generation() const = 0;       ///< Of the last commit; 0 before the first.
  virtual std::uint64_t committed_bytes() const = 0;  ///< Of the file at the last commit.
};

}  // namespace ivf::format
