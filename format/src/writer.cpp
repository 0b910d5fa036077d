// The writer: segments after the committed end, then a directory, then a superblock.

#include "writer.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "checksum.h"
#include "file_state.h"
#include "ivf/error.hpp"
#include "ivf/format/row_bits.hpp"
#include "new_file.h"
#include "section_sink.h"
#include "writer_lock.h"

namespace ivf::format {
namespace {

void require(bool condition, const std::string& message) {
  if (!condition) throw Error(ErrorKind::misuse, message);
}

void check_norms(std::span<const float> norms, const char* what) {
  // An infinite norm is that of a finite vector whose squares exceed the largest float32.
  require(std::all_of(norms.begin(), norms.end(), [](float norm) { return norm >= 0; }),
          fmt::format("norms of {}: expected numbers that are not negative", what));
}

void check_planes(const Planes& planes, std::uint64_t rows, std::uint32_t dim, const char* what) {
  require(
      planes.hi.size() == rows * dim && (planes.lo.empty() || planes.lo.size() == rows * dim) &&
          planes.norms.size() == rows,
      fmt::format("planes of {}: expected {} x {} values in hi (and lo, unless it is empty) and {} norms, found {}, {} "
                  "and {}",
                  what, rows, dim, rows, planes.hi.size(), planes.lo.size(), planes.norms.size()));
  check_norms(planes.norms, what);
}

void check_parameters(const Parameters& parameters, const Planes& centroids, const Writer::Options& options) {
  const bool ivf = parameters.kind == IndexKind::ivf;
  require(ivf || parameters.kind == IndexKind::flat, "index kind: expected flat or ivf");
  require(parameters.metric <= Metric::cosine, "metric: expected l2, ip or cosine");
  require(parameters.dim >= 1 && parameters.dim <= kMaxDim,
          fmt::format("dimension: expected 1 to {}, found {}", kMaxDim, parameters.dim));
  const std::uint64_t max_lists = ivf ? kMaxLists : 1;
  require(parameters.nlist >= 1 && parameters.nlist <= max_lists,
          fmt::format("nlist: expected 1 to {}, found {}", max_lists, parameters.nlist));
  require(parameters.metadata.size() <= kMaxMetadata,
          fmt::format("metadata: expected at most {} bytes, found {}", kMaxMetadata, parameters.metadata.size()));
  require(options.level >= 1 && options.level <= static_cast<int>(kMaxCompressionLevel),
          fmt::format("compression level: expected 1 to {}, found {}", kMaxCompressionLevel, options.level));
  check_planes(centroids, ivf ? parameters.nlist : 0, parameters.dim, "the centroids");
}

void check_bounds(std::span<const float> bounds, std::uint64_t nlist, const char* what) {
  require(bounds.size() == nlist, fmt::format("{}: expected {} values, found {}", what, nlist, bounds.size()));
  require(std::all_of(bounds.begin(), bounds.end(), [](float value) { return value >= 0; }),
          fmt::format("{}: expected numbers that are not negative", what));
}

/// What both kinds of segments have in memory: `Segment` is a SegmentView or a SegmentSource.
template <class Segment>
void check_lists(const Segment& segment, const Parameters& parameters) {
  const auto& offsets = segment.offsets;
  require(offsets.size() == parameters.nlist + 1 && offsets.front() == 0 && offsets.back() == segment.rows &&
              std::is_sorted(offsets.begin(), offsets.end()),
          fmt::format("list offsets: expected {} values that rise from 0 to {}", parameters.nlist + 1, segment.rows));
  check_bounds(segment.radii, parameters.kind == IndexKind::ivf ? parameters.nlist : 0, "list radii");
  if (!segment.residuals.empty()) check_bounds(segment.residuals, parameters.nlist, "list residuals");
  require(
      std::none_of(segment.residuals.begin(), segment.residuals.end(), [](float value) { return std::isinf(value); }),
      "list residuals: expected finite values");
}

void check_ids(std::span<const idx_t> ids) {
  require(std::find(ids.begin(), ids.end(), idx_t{-1}) == ids.end(),
          "ids: -1 marks a missing result and cannot be stored");
}

void check_segment(const SegmentView& segment, const Parameters& parameters) {
  check_lists(segment, parameters);
  require(segment.ids.size() == segment.rows,
          fmt::format("ids: expected {}, found {}", segment.rows, segment.ids.size()));
  check_ids(segment.ids);
  check_planes(segment.planes, segment.rows, parameters.dim, "a segment");
}

/// Values that `make` makes, each piece of which is then checked.
template <class T, class Check>
RawBytes raw_bytes(std::uint64_t count, const SegmentSource::Make<T>& make, Check check) {
  // Pieces are whole values in a place that is aligned for them: they begin at multiples of 8 bytes of a buffer.
  return {count * sizeof(T), [&make, check](std::uint64_t first, std::span<std::byte> out) {
            const std::span<T> values(reinterpret_cast<T*>(out.data()), out.size() / sizeof(T));
            make(first / sizeof(T), values);
            check(std::span<const T>(values));
          }};
}

bool all_zero(std::span<const std::uint16_t> values) noexcept {
  return std::all_of(values.begin(), values.end(), [](std::uint16_t value) { return value == 0; });
}

class FileWriter final : public Writer {
 public:
  /// A new file.
  FileWriter(FileOps& ops, const std::string& path, const Parameters& parameters, const Planes& centroids,
             const Options& options, bool replace, UniqueFd replaced)
      : ops_(ops),
        path_(path),
        parameters_(parameters),
        threads_(options.threads),
        replace_(replace),
        replaced_(std::move(replaced)) {
    if (struct stat status = {}; !replace && ::stat(path_.c_str(), &status) == 0) {
      throw Error(ErrorKind::misuse, fmt::format("'{}' exists; name another file or ask for it to be replaced", path_));
    }
    new_file_.emplace(ops_, path_);
    lock_now(new_file_->fd(), path_);
    header_.kind = static_cast<std::uint32_t>(parameters.kind);
    header_.metric = static_cast<std::uint32_t>(parameters.metric);
    header_.dim = parameters.dim;
    header_.nlist = parameters.nlist;
    header_.seed = parameters.seed;
    header_.compression_level = options.compress ? static_cast<std::uint32_t>(options.level) : 0;
    seal(header_);
    std::array<std::byte, kHeadBytes> head = {};
    std::memcpy(head.data(), &header_, sizeof header_);
    pwrite_fully(ops_, fd(), head.data(), head.size(), 0, path_);
    end_ = kHeadBytes;
    SectionSink sink = section_sink();
    const auto add = [&](SectionKind kind, std::uint64_t items, std::span<const std::byte> raw) {
      if (!raw.empty()) entries_.push_back(sink.write(kind, kNoSegment, items, raw));
    };
    add(SectionKind::metadata, parameters.metadata.size(), std::as_bytes(std::span(parameters.metadata)));
    add(SectionKind::centroid_hi, parameters.nlist, std::as_bytes(centroids.hi));
    if (!all_zero(centroids.lo)) add(SectionKind::centroid_lo, parameters.nlist, std::as_bytes(centroids.lo));
    add(SectionKind::centroid_norms, parameters.nlist, std::as_bytes(centroids.norms));
    end_ = sink.end();
    pending_ = true;
  }

  /// An existing file.
  FileWriter(FileOps& ops, const std::string& path, unsigned threads)
      : ops_(ops), path_(path), threads_(threads), fd_(open_locked(ops, path)) {
    FileState state = read_file_state(fd(), path_);
    if (state.superblock.writer_required_features != 0) {
      throw Error(ErrorKind::corrupt,
                  fmt::format("'{}': expected no features that a writer must know, found {:#x}; it was "
                              "written by a newer ivf and can be read but not appended to",
                              path_, state.superblock.writer_required_features));
    }
    header_ = state.header;
    superblock_ = state.superblock;
    entries_ = std::move(state.entries);
    parameters_ = read_parameters(state);
    end_ = superblock_.committed_end;
    removed_ = superblock_.removed;
    next_id_ = next_id_of(superblock_);
    // Leftovers of a writer that was interrupted. No reader uses anything past the committed end.
    discard_after_committed_end();
  }

  ~FileWriter() override {
    // Give the disk space of what was not committed back, unless the new superblock may already be on disk.
    if (fd_.valid() && pending_ && !superblock_started_)
      ops_.ftruncate(fd(), static_cast<off_t>(superblock_.committed_end));
  }

  const Parameters& parameters() const override { return parameters_; }
  std::uint64_t rows() const override { return superblock_.rows + pending_rows_; }
  std::uint64_t segments() const override { return superblock_.segments + pending_segments_; }
  std::uint64_t next_id() const override { return next_id_; }
  std::uint64_t generation() const override { return superblock_.generation; }
  std::uint64_t committed_bytes() const override { return superblock_.committed_end; }

  void set_next_id(std::uint64_t next_id) override {
    check_usable();
    require(next_id >= rows() && next_id <= kMaxNextId,
            fmt::format("next id: expected the number of rows, {}, to 2^63 - 1, found {}", rows(), next_id));
    pending_ |= next_id != next_id_;
    next_id_ = next_id;
  }

  void write_segment(const SegmentView& segment) override {
    check_room(segment.rows);
    if (segment.rows == 0) return;
    check_segment(segment, parameters_);
    const Planes& planes = segment.planes;
    const std::uint64_t number = segments();
    write_sections(segment, {std::as_bytes(planes.norms), std::as_bytes(segment.ids), std::as_bytes(planes.hi),
                             all_zero(planes.lo) ? std::span<const std::byte>() : std::as_bytes(planes.lo)});
    if (!segment.removed.empty()) set_removed(number, segment.removed);
  }

  void stream_segment(const SegmentSource& segment) override {
    check_room(segment.rows);
    if (segment.rows == 0) return;
    check_lists(segment, parameters_);
    const std::uint64_t values = segment.rows * parameters_.dim;
    const auto any = [](std::span<const std::uint16_t>) {};
    const auto norms = [](std::span<const float> made) { check_norms(made, "a segment"); };
    write_sections(segment,
                   {raw_bytes(segment.rows, segment.norms, norms), raw_bytes(segment.rows, segment.ids, check_ids),
                    raw_bytes(values, segment.hi, any), raw_bytes(segment.lo ? values : 0, segment.lo, any)});
  }

  void set_removed(std::uint64_t segment, std::span<const std::uint64_t> removed) override {
    check_usable();
    require(segment < segments(),
            fmt::format("removed rows: expected a segment below {}, found {}", segments(), segment));
    const std::uint64_t rows = rows_of(segment);
    require(removed.size() == row_words(rows) && (rows % 64 == 0 || removed.back() >> (rows % 64) == 0),
            fmt::format("removed rows: expected {} words, with no bit past row {}", row_words(rows), rows - 1));
    failed_ = true;
    pending_ = true;
    const auto old = std::find_if(entries_.begin(), entries_.end(), [&](const DirectoryEntry& entry) {
      return entry.segment == segment && entry.section() == SectionKind::removed_rows;
    });
    if (old != entries_.end()) {
      removed_ -= count_rows(read_words(*old));
      entries_.erase(old);
    }
    if (const std::uint64_t count = count_rows(removed); count != 0) {
      SectionSink sink = section_sink();
      entries_.push_back(sink.write(SectionKind::removed_rows, segment, removed.size(), std::as_bytes(removed)));
      end_ = sink.end();
      removed_ += count;
    }
    failed_ = false;
  }

  void commit() override {
    check_usable();
    if (!pending_) return;
    failed_ = true;
    const Superblock next = write_directory();
    if (new_file_) {
      publish(next);
    } else {
      replace_superblock(next);
    }
    superblock_ = next;
    end_ = next.committed_end;
    pending_ = false;
    pending_rows_ = 0;
    pending_segments_ = 0;
    failed_ = false;
  }

 private:
  int fd() const noexcept { return new_file_ ? new_file_->fd() : fd_.get(); }

  SectionSink section_sink() {
    return SectionSink(ops_, fd(), path_, end_, {static_cast<int>(header_.compression_level), threads_});
  }

  /// Throws unless that many rows can be written.
  void check_room(std::uint64_t more) const {
    check_usable();
    require(more <= kMaxRows - rows(), fmt::format("'{}': an index holds at most 2^40 rows", path_));
    require(more <= kMaxNextId - next_id_,
            fmt::format("'{}': expected room for {} more ids, found that the next one is {}; sort the ids by "
                        "compacting the index, or merge it into a new one",
                        path_, more, next_id_));
  }

  struct BulkSections {
    RawBytes norms, ids, hi, lo;
  };

  /// Writes a segment that was checked. `Segment` is a SegmentView or a SegmentSource.
  template <class Segment>
  void write_sections(const Segment& segment, const BulkSections& bulk) {
    failed_ = true;  // Until the end: what throws leaves the writer unusable.
    pending_ = true;
    const std::uint64_t number = segments();
    SectionSink sink = section_sink();
    const auto add = [&](SectionKind kind, std::uint64_t items, const RawBytes& raw) {
      if (!raw.empty()) entries_.push_back(sink.write(kind, number, items, raw));
    };
    add(SectionKind::list_offsets, segment.offsets.size(), std::as_bytes(segment.offsets));
    add(SectionKind::list_radii, segment.radii.size(), std::as_bytes(segment.radii));
    add(SectionKind::list_residuals, segment.residuals.size(), std::as_bytes(segment.residuals));
    add(SectionKind::norms, segment.rows, bulk.norms);
    add(SectionKind::ids, segment.rows, bulk.ids);
    add(SectionKind::hi, segment.rows, bulk.hi);
    add(SectionKind::lo, segment.rows, bulk.lo);
    end_ = sink.end();
    pending_rows_ += segment.rows;
    next_id_ += segment.rows;
    ++pending_segments_;
    failed_ = false;
  }

  void check_usable() const {
    if (failed_) {
      throw Error(ErrorKind::failed,
                  fmt::format("cannot write '{}': an earlier error left this writer unusable; open the "
                              "index again",
                              path_));
    }
  }

  /// Rows of a segment, committed or pending.
  std::uint64_t rows_of(std::uint64_t segment) const {
    const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const DirectoryEntry& candidate) {
      return candidate.segment == segment && candidate.section() == SectionKind::ids;
    });
    return entry->items;  // read_file_state() and write_segment() see to it that there is one.
  }

  /// A section of words that are stored as they are.
  std::vector<std::uint64_t> read_words(const DirectoryEntry& entry) const {
    std::vector<std::uint64_t> words(entry.items);
    pread_fully(fd(), words.data(), words.size() * sizeof words[0], entry.offset, path_);
    return words;
  }

  Parameters read_parameters(const FileState& state) const {
    Parameters parameters;
    parameters.kind = static_cast<IndexKind>(state.header.kind);
    parameters.metric = static_cast<Metric>(state.header.metric);
    parameters.dim = state.header.dim;
    parameters.nlist = state.header.nlist;
    parameters.seed = state.header.seed;
    for (const DirectoryEntry& entry : entries_) {
      if (entry.section() != SectionKind::metadata) continue;
      parameters.metadata.resize(entry.raw_bytes);
      const auto bytes = std::as_writable_bytes(std::span(parameters.metadata));
      pread_fully(fd(), bytes.data(), bytes.size(), entry.offset, path_);
      if (section_checksum(bytes, 1) != entry.checksum) {
        throw_corrupt(path_, describe(entry), "a matching checksum", "another");
      }
    }
    return parameters;
  }

  void discard_after_committed_end() {
    struct stat status = {};
    if (::fstat(fd(), &status) != 0) throw_errno("examine", path_, errno);
    if (static_cast<std::uint64_t>(status.st_size) > superblock_.committed_end) {
      ftruncate_or_throw(ops_, fd(), superblock_.committed_end, path_);
    }
  }

  /// Writes the directory after the last section and returns the superblock that will make it current.
  Superblock write_directory() {
    Superblock next = superblock_;
    ++next.generation;
    next.rows += pending_rows_;
    next.segments += pending_segments_;
    // What is not needed is not written, so that an index from which nothing was removed is what it always was.
    const bool removals = removed_ != 0 || next_id_ != next.rows;
    next.required_features = removals ? kFeatureRemovals : 0;
    next.removed = removals ? removed_ : 0;
    next.next_id = removals ? next_id_ : 0;
    DirectoryHeader directory_header;
    directory_header.generation = next.generation;
    directory_header.rows = next.rows;
    directory_header.segments = next.segments;
    directory_header.sections = entries_.size();
    std::vector<std::byte> directory(sizeof directory_header + entries_.size() * sizeof(DirectoryEntry));
    std::memcpy(directory.data(), &directory_header, sizeof directory_header);
    if (!entries_.empty()) {
      std::memcpy(directory.data() + sizeof directory_header, entries_.data(),
                  entries_.size() * sizeof(DirectoryEntry));
    }
    pwrite_fully(ops_, fd(), directory.data(), directory.size(), end_, path_);
    next.directory_offset = end_;
    next.directory_bytes = directory.size();
    next.directory_checksum = checksum64(directory.data(), directory.size());
    next.committed_end = end_ + directory.size();
    seal(next);
    return next;
  }

  void write_slot(const Superblock& superblock) {
    const auto page = slot_page(superblock);
    pwrite_fully(ops_, fd(), page.data(), page.size(), slot_offset(superblock.generation), path_);
  }

  /// The first commit of a new file: nobody sees it before the rename, so that one fsync is enough.
  void publish(const Superblock& next) {
    write_slot(next);
    if (replace_ && !(replaced_.valid() && names_file(path_, replaced_.get()))) replaced_ = lock_replaced(ops_, path_);
    new_file_->publish(replace_);
    fd_ = new_file_->release();
    new_file_.reset();
    replaced_.reset();
  }

  void replace_superblock(const Superblock& next) {
    // The current superblock goes to disk again with the data: the slot that holds the state before it is about to be
    // overwritten, and the fsync by which an earlier writer made the current one durable may have failed.
    write_slot(superblock_);
    fsync_or_throw(ops_, fd(), path_);
    superblock_started_ = true;
    write_slot(next);
    fsync_or_throw(ops_, fd(), path_);
    superblock_started_ = false;
  }

  FileOps& ops_;
  std::string path_;
  Parameters parameters_;
  unsigned threads_;
  bool replace_ = false;
  UniqueFd replaced_;                ///< Holds the lock of the file that publish() will replace.
  std::optional<NewFile> new_file_;  ///< Until the first commit of a new file.
  UniqueFd fd_;                      ///< The index, once it is in its place.
  FileHeader header_;
  Superblock superblock_;  ///< As committed; generation 0 before the first commit.
  std::vector<DirectoryEntry> entries_;
  std::uint64_t end_ = 0;  ///< Where the next section goes.
  std::uint64_t pending_rows_ = 0;
  std::uint64_t pending_segments_ = 0;
  std::uint64_t removed_ = 0;  ///< With what is pending, as is ...
  std::uint64_t next_id_ = 0;  ///< ... the numbering.
  bool pending_ = false;
  bool superblock_started_ = false;  ///< The file may hold the old or the new superblock.
  bool failed_ = false;
};

}  // namespace

std::unique_ptr<Writer> create_writer(FileOps& ops, const std::string& path, const Parameters& parameters,
                                      const Planes& centroids, const Writer::Options& options, bool replace) {
  check_parameters(parameters, centroids, options);
  return std::make_unique<FileWriter>(ops, path, parameters, centroids, options, replace,
                                      replace ? lock_replaced(ops, path) : UniqueFd());
}

std::unique_ptr<Writer> replace_writer(FileOps& ops, std::unique_ptr<WriteLock> lock, const Parameters& parameters,
                                       const Planes& centroids, const Writer::Options& options) {
  check_parameters(parameters, centroids, options);
  UniqueFd replaced = static_cast<FileLock&>(*lock).release();  // There is no other kind.
  return std::make_unique<FileWriter>(ops, lock->path(), parameters, centroids, options, true, std::move(replaced));
}

std::unique_ptr<Writer> append_writer(FileOps& ops, const std::string& path, unsigned threads) {
  return std::make_unique<FileWriter>(ops, path, threads);
}

std::unique_ptr<Writer> Writer::create(const std::string& path, const Parameters& parameters, const Planes& centroids,
                                       const Options& options, bool replace) {
  return create_writer(FileOps::system(), path, parameters, centroids, options, replace);
}

std::unique_ptr<Writer> Writer::replace(std::unique_ptr<WriteLock> lock, const Parameters& parameters,
                                        const Planes& centroids, const Options& options) {
  return replace_writer(FileOps::system(), std::move(lock), parameters, centroids, options);
}

std::unique_ptr<Writer> Writer::append(const std::string& path, unsigned threads) {
  return append_writer(FileOps::system(), path, threads);
}

}  // namespace ivf::format
