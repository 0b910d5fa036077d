#include "index_image.h"

#include <cstring>
#include <stdexcept>

#include "checksum.h"
#include "sample.h"

namespace ivf::test {

IndexImage::IndexImage(const std::string& path) {
  const std::string content = read_bytes(path);
  bytes_.resize(content.size());
  std::memcpy(bytes_.data(), content.data(), content.size());
  std::uint64_t newest = 0;
  for (std::size_t slot = format::kPage; slot < format::kHeadBytes; slot += format::kPage) {
    const auto& candidate = at<format::Superblock>(slot);
    if (format::checksum_matches(candidate) && candidate.generation > newest) {
      newest = candidate.generation;
      superblock_ = slot;
    }
  }
  if (newest == 0) throw std::runtime_error("no superblock in " + path);
  directory_ = superblock().directory_offset;
  entry_count_ = directory().sections;
}

std::span<format::DirectoryEntry> IndexImage::entries() {
  return {&at<format::DirectoryEntry>(directory_ + sizeof(format::DirectoryHeader)), entry_count_};
}

format::DirectoryEntry& IndexImage::entry(format::SectionKind kind, std::uint64_t segment) {
  const bool in_segment = format::section_traits(static_cast<std::uint32_t>(kind))->in_segment;
  for (format::DirectoryEntry& entry : entries()) {
    if (entry.section() == kind && (!in_segment || entry.segment == segment)) return entry;
  }
  throw std::runtime_error("no such section");
}

void IndexImage::repair(Repair what) {
  switch (what) {
    case Repair::sections:
      for (format::DirectoryEntry& entry : entries()) {
        if (entry.offset > bytes_.size() || entry.stored_bytes > bytes_.size() - entry.offset) continue;
        entry.checksum = format::section_checksum({bytes_.data() + entry.offset, entry.stored_bytes}, 1);
      }
      [[fallthrough]];
    case Repair::directory:
      superblock().directory_checksum =
          format::checksum64(bytes_.data() + directory_, (entry_count_ + 1) * sizeof(format::DirectoryEntry));
      [[fallthrough]];
    case Repair::superblock:
      format::seal(superblock());
      at<format::Superblock>(superblock_ + format::kCopyStride) = superblock();
      break;
    case Repair::header:
      format::seal(header());
      break;
    case Repair::nothing:
      break;
  }
}

void IndexImage::write(const std::string& path) const {
  write_bytes(path, std::string(reinterpret_cast<const char*>(bytes_.data()), bytes_.size()));
}

}  // namespace ivf::test
