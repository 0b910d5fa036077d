// Sizes at the limits of the format, in sparse files, and what hostile files make a reader allocate.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "checksum.h"
#include "expect_error.h"
#include "file_ops.h"
#include "index_image.h"
#include "ivf/format/container.hpp"
#include "layout.h"
#include "sample.h"
#include "support/address_space_limit.h"
#include "temp_dir.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;
using ivf::support::AddressSpaceLimit;
using ivf::support::kSanitized;

namespace {

/// Makes a flat index of zeros, with the structures of one that really has so many rows. Returns false when the file
/// system has no files that long.
bool write_sparse_index(const std::string& path, std::uint32_t dim, const std::vector<std::uint64_t>& segment_rows) {
  FileOps& ops = FileOps::system();
  const UniqueFd fd(ops, ops.open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  REQUIRE(fd.valid());
  std::vector<DirectoryEntry> entries;
  std::uint64_t end = kHeadBytes;
  std::uint64_t rows = 0;
  for (std::size_t segment = 0; segment < segment_rows.size(); ++segment) {
    const auto add = [&](SectionKind kind, std::uint64_t items) {
      DirectoryEntry entry;
      entry.kind = static_cast<std::uint32_t>(kind);
      entry.segment = segment;
      entry.offset = end;
      entry.items = items;
      entry.raw_bytes = raw_bytes_of(*section_traits(entry.kind), items, dim);
      entry.stored_bytes = entry.raw_bytes;
      end = next_section_offset(end + entry.stored_bytes);
      entries.push_back(entry);
    };
    const std::uint64_t offsets[] = {0, segment_rows[segment]};
    pwrite_fully(ops, fd.get(), offsets, sizeof offsets, end, path);
    add(SectionKind::list_offsets, 2);
    entries.back().checksum = section_checksum(std::as_bytes(std::span(offsets)), 1);
    add(SectionKind::ids, segment_rows[segment]);
    add(SectionKind::hi, segment_rows[segment]);
    add(SectionKind::norms, segment_rows[segment]);
    rows += segment_rows[segment];
  }
  DirectoryHeader header;
  header.generation = 1;
  header.rows = rows;
  header.segments = segment_rows.size();
  header.sections = entries.size();
  std::vector<std::byte> directory(sizeof header + entries.size() * sizeof(DirectoryEntry));
  std::memcpy(directory.data(), &header, sizeof header);
  std::memcpy(directory.data() + sizeof header, entries.data(), directory.size() - sizeof header);
  if (::ftruncate(fd.get(), static_cast<off_t>(end + directory.size())) != 0) {
    REQUIRE(errno == EFBIG);
    return false;
  }
  pwrite_fully(ops, fd.get(), directory.data(), directory.size(), end, path);
  Superblock superblock;
  superblock.generation = 1;
  superblock.committed_end = end + directory.size();
  superblock.directory_offset = end;
  superblock.directory_bytes = directory.size();
  superblock.directory_checksum = checksum64(directory.data(), directory.size());
  superblock.rows = rows;
  superblock.segments = segment_rows.size();
  seal(superblock);
  const auto page = slot_page(superblock);
  pwrite_fully(ops, fd.get(), page.data(), page.size(), slot_offset(1), path);
  FileHeader file_header;
  file_header.kind = static_cast<std::uint32_t>(IndexKind::flat);
  file_header.dim = dim;
  file_header.nlist = 1;
  seal(file_header);
  pwrite_fully(ops, fd.get(), &file_header, sizeof file_header, 0, path);
  return true;
}

/// Makes a sound compressed index claim more rows, consistently wherever their number is stored.
void claim_rows(IndexImage& image, std::uint64_t rows) {
  const std::uint32_t dim = image.header().dim;
  for (DirectoryEntry& entry : image.entries()) {
    const SectionTraits& traits = *section_traits(entry.kind);
    if (!traits.bulk) continue;
    REQUIRE(entry.compressed());
    entry.items = rows;
    entry.raw_bytes = raw_bytes_of(traits, rows, dim);
  }
  image.section<std::uint64_t>(SectionKind::list_offsets).back() = rows;
  image.directory().rows = rows;
  image.superblock().rows = rows;
  image.repair(Repair::sections);
}

}  // namespace

#ifndef __SANITIZE_THREAD__  // It leaves no room for maps of terabytes.
TEST_CASE("2^40 rows are opened and one more is refused") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  if (!write_sparse_index(path, 1, {kMaxRows})) {
    WARN("this file system has no files of 14 TiB; not tested");
    return;
  }
  {
    const auto snapshot = Snapshot::open(path);
    CHECK(snapshot->rows() == kMaxRows);
    const SegmentView& segment = snapshot->segments().at(0);
    CHECK(segment.planes.hi.size() == kMaxRows);
    CHECK(segment.ids.back() == 0);
    CHECK(segment.planes.norms.back() == 0);
  }
  CHECK(Writer::append(path)->rows() == kMaxRows);
  const TempDir other;
  const std::string large = other.file("x.ivf");
  REQUIRE(write_sparse_index(large, 1, {kMaxRows / 2, kMaxRows / 2 + 1}));
  expect_error(ErrorKind::corrupt, "1099511627777 rows (at most 2^40)", [&] { Snapshot::open(large); });
}

TEST_CASE("planes of terabytes are opened") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  // 2^26 rows x 65536 x 2 bytes: 8 TiB.
  if (!write_sparse_index(path, kMaxDim, {std::uint64_t{1} << 26})) {
    WARN("this file system has no files of 8 TiB; not tested");
    return;
  }
  const auto snapshot = Snapshot::open(path);
  CHECK(snapshot->segments().at(0).planes.hi.size() == std::uint64_t{1} << 42);
}
#endif

TEST_CASE("memory that cannot be had is an error and not a crash") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  REQUIRE(write_sparse_index(path, 1024, {std::uint64_t{1} << 22}));
  if (kSanitized) {
    WARN("sanitizers need more address space than could be left; not tested");
    return;
  }
  const AddressSpaceLimit limit(std::uint64_t{64} << 20);
  expect_error(ErrorKind::failed, "cannot map '" + path + "': Cannot allocate memory", [&] { Snapshot::open(path); });
}

TEST_CASE("a compressed index that claims more than it holds is refused before memory is allocated") {
  const TempDir directory;
  const std::string path = directory.file("x.ivf");
  SampleOptions options;
  options.segment_rows = {2000};
  Writer::Options compress;
  compress.compress = true;
  write_sample(path, make_sample(options), compress);
  IndexImage image(path);
  std::string words;
  SECTION("as many rows as there can be") {
    claim_rows(image, kMaxRows);
    words = "expected less than 1024 raw bytes a stored byte";
  }
  SECTION("as many rows as the bound on expansion lets through") {
    std::uint64_t rows = kMaxRows;
    for (const DirectoryEntry& entry : image.entries()) {
      const SectionTraits& traits = *section_traits(entry.kind);
      const std::uint64_t row_bytes = raw_bytes_of(traits, 1, options.dim);
      if (traits.bulk) rows = std::min(rows, entry.stored_bytes * (kMaxExpansion - 1) / row_bytes);
    }
    REQUIRE(rows > 50000);
    claim_rows(image, rows);
    words = "frame 0 of section norms";
  }
  image.write(path);
  const AddressSpaceLimit limit(image.bytes().size() + 100000);
  expect_error(ErrorKind::corrupt, words, [&] { Snapshot::open(path); });
}
