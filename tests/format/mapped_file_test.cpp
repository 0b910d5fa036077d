#include "ivf/format/mapped_file.hpp"

#include <sys/stat.h>

#include <cstring>
#include <utility>

#include "expect_error.h"
#include "sample.h"
#include "temp_dir.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

TEST_CASE("a mapped file shows its bytes") {
  const TempDir directory;
  const std::string path = directory.file("a");
  write_bytes(path, "hello");
  MappedFile file(path);
  REQUIRE(file.size() == 5);
  CHECK(std::memcmp(file.bytes().data(), "hello", 5) == 0);
  CHECK(file.path() == path);

  MappedFile moved(std::move(file));
  CHECK(moved.size() == 5);
  MappedFile assigned;
  assigned = std::move(moved);
  CHECK(std::memcmp(assigned.bytes().data(), "hello", 5) == 0);
}

TEST_CASE("an empty file maps to nothing") {
  const TempDir directory;
  write_bytes(directory.file("a"), "");
  const MappedFile file(directory.file("a"));
  CHECK(file.size() == 0);
  CHECK(file.bytes().empty());
}

TEST_CASE("what is not a regular file is refused without waiting") {
  const TempDir directory;
  const std::string fifo = directory.file("fifo");
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  expect_error(ErrorKind::failed, "'" + fifo + "': expected a regular file, found a special file",
               [&] { MappedFile file(fifo); });
  expect_error(ErrorKind::failed, "found a directory", [&] { MappedFile file(directory.path().string()); });
  expect_error(ErrorKind::failed, "No such file or directory", [&] { MappedFile file(directory.file("none")); });
}
