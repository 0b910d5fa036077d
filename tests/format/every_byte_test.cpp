// Every byte of small indexes is damaged, and they are cut off at every length: each file is refused, or is still
// exactly what it was.

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "expect_error.h"
#include "ivf/format/container.hpp"
#include "sample.h"
#include "temp_dir.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

namespace {

/// Whether the file still holds the sample; false when it is refused as corrupt. Anything else fails the test.
bool still_sound(const std::string& path, const Sample& sample) {
  try {
    const auto snapshot = Snapshot::open(path);
    snapshot->verify_checksums();
    REQUIRE(holds(*snapshot, sample));
    return true;
  } catch (const Error& error) {
    INFO("message: " << error.what());
    REQUIRE(static_cast<int>(error.kind()) == static_cast<int>(ErrorKind::corrupt));
    return false;
  }
}

struct SmallIndex {
  explicit SmallIndex(bool compress) {
    SampleOptions options;
    options.segment_rows = {40, 11};
    options.removed = true;
    sample = make_sample(options);
    Writer::Options writer_options;
    writer_options.compress = compress;
    write_sample(path, sample, writer_options);
    REQUIRE(any_compressed(*Snapshot::open(path)) == compress);
  }

  TempDir directory;
  std::string path = directory.file("x.ivf");
  Sample sample;
};

}  // namespace

TEST_CASE("a flip of any byte is refused or harmless") {
  const bool compress = GENERATE(false, true);
  const int mask = GENERATE(0x01, 0xff);
  const SmallIndex index(compress);
  const std::string bytes = read_bytes(index.path);
  const int fd = ::open(index.path.c_str(), O_WRONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  std::size_t refused = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    INFO("byte " << i);
    const char flipped = static_cast<char>(bytes[i] ^ mask);
    REQUIRE(::pwrite(fd, &flipped, 1, static_cast<off_t>(i)) == 1);
    refused += still_sound(index.path, index.sample) ? 0 : 1;
    REQUIRE(::pwrite(fd, &bytes[i], 1, static_cast<off_t>(i)) == 1);
  }
  ::close(fd);
  CHECK(still_sound(index.path, index.sample));
  // Harmless are the four copies of superblocks, of which one is enough, the directories of earlier generations and the
  // bytes that align sections.
  const std::size_t harmless = bytes.size() - refused;
  CHECK(harmless > 4 * 128);
  CHECK(harmless < 4 * 128 + 4000);
}

TEST_CASE("a file that is cut off anywhere is refused") {
  const bool compress = GENERATE(false, true);
  const SmallIndex index(compress);
  std::size_t length = read_bytes(index.path).size();
  REQUIRE(still_sound(index.path, index.sample));
  while (length > 0) {
    --length;
    REQUIRE(::truncate(index.path.c_str(), static_cast<off_t>(length)) == 0);
    INFO("length " << length);
    REQUIRE_FALSE(still_sound(index.path, index.sample));
    // Nor does a writer go on with it, even where an older generation would still be whole.
    if (length % 64 == 0) expect_error(ErrorKind::corrupt, "", [&] { Writer::append(index.path); });
  }
}

TEST_CASE("bytes past the committed end are ignored, and cut off by the next writer") {
  const SmallIndex index(false);
  const std::string bytes = read_bytes(index.path);
  write_bytes(index.path, bytes + std::string(10000, 'x'));
  {
    const auto snapshot = Snapshot::open(index.path);
    snapshot->verify_checksums();
    CHECK(holds(*snapshot, index.sample));
    CHECK(snapshot->file_bytes() == bytes.size() + 10000);
    CHECK(snapshot->committed_bytes() == bytes.size());
  }
  { const auto writer = Writer::append(index.path); }
  CHECK(read_bytes(index.path) == bytes);
}
