#include "ivf/format/output_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>

#include "expect_error.h"
#include "sample.h"
#include "temp_dir.h"

using namespace ivf;
using namespace ivf::format;
using namespace ivf::test;

namespace {

mode_t mode_of(const std::string& path) {
  struct stat status = {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

void write_output(const std::string& path, const std::string& text) {
  OutputFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

}  // namespace

TEST_CASE("an output file appears when it is committed") {
  const TempDir directory;
  const std::string path = directory.file("out");
  {
    OutputFile file(path);
    file.write("abc", 3);
    CHECK(file.size() == 3);
    CHECK(file.path() == path);
    CHECK_FALSE(std::filesystem::exists(path));
    CHECK(std::filesystem::exists(file.temporary_path()));
    file.commit();
    CHECK(read_bytes(path) == "abc");
  }
  CHECK(read_bytes(path) == "abc");
  CHECK(directory.entries() == 1);
}

TEST_CASE("an output file that is not committed leaves nothing") {
  const TempDir directory;
  const std::string path = directory.file("out");
  {
    OutputFile file(path);
    file.write("abc", 3);
  }
  CHECK(directory.entries() == 0);
  write_output(path, "old");
  {
    OutputFile file(path);
    file.write("new", 3);
  }
  CHECK(read_bytes(path) == "old");
  CHECK(directory.entries() == 1);
}

TEST_CASE("writes of any size and at any place arrive") {
  const TempDir directory;
  const std::string path = directory.file("out");
  std::string expected;
  OutputFile file(path);
  for (std::size_t i = 0; i < 40; ++i) {
    const std::string piece(i * i * 2000, static_cast<char>('a' + i % 26));
    file.write(piece.data(), piece.size());
    expected += piece;
  }
  file.write_at(5, "HELLO", 5);
  expected.replace(5, 5, "HELLO");
  file.write("tail", 4);
  expected += "tail";
  file.write_at(expected.size() + 3, "end", 3);
  expected += std::string(3, '\0') + "end";
  CHECK(file.size() == expected.size() - 6);
  file.commit();
  CHECK(read_bytes(path) == expected);
}

TEST_CASE("a file written through its temporary name counts") {
  const TempDir directory;
  OutputFile file(directory.file("out"));
  write_bytes(file.temporary_path(), "by somebody else");
  file.commit();
  CHECK(read_bytes(directory.file("out")) == "by somebody else");
}

TEST_CASE("new files obey the umask and replaced files keep their mode") {
  const TempDir directory;
  const std::string path = directory.file("out");
  const mode_t old_mask = ::umask(027);
  write_output(path, "a");
  CHECK(mode_of(path) == 0640);
  REQUIRE(::chmod(path.c_str(), 0604) == 0);
  {
    OutputFile file(path);
    // Nobody may read the new contents who could not read the old.
    CHECK((mode_of(file.temporary_path()) & ~mode_t{0604}) == 0);
    file.commit();
  }
  CHECK(mode_of(path) == 0604);
  ::umask(old_mask);
}

TEST_CASE("a symbolic link stays and its target is replaced") {
  const TempDir directory;
  const std::string target = directory.file("target");
  const std::string link = directory.file("link");
  write_bytes(target, "old");
  std::filesystem::create_symlink("target", link);
  write_output(link, "new");
  CHECK(std::filesystem::is_symlink(link));
  CHECK(read_bytes(target) == "new");
  std::filesystem::remove(target);
  expect_error(ErrorKind::failed, "cannot follow the symbolic link '" + link + "': No such file",
               [&] { OutputFile file(link); });
}

TEST_CASE("devices and pipes are written, not replaced") {
  const TempDir directory;
  write_output("/dev/null", "abc");
  CHECK(std::filesystem::is_character_file("/dev/null"));
  const std::string fifo = directory.file("fifo");
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  std::string received;
  std::thread reader([&] { received = read_bytes(fifo); });
  {
    OutputFile file(fifo);
    CHECK(file.temporary_path() == fifo);
    file.write("abc", 3);
    expect_error(ErrorKind::failed, "Illegal seek", [&] { file.write_at(0, "x", 1); });
    const std::string large(2 << 20, 'x');
    file.write(large.data(), large.size());
    file.commit();
  }
  reader.join();
  CHECK(received == "abc" + std::string(2 << 20, 'x'));
  CHECK(std::filesystem::is_fifo(fifo));
}

TEST_CASE("an open descriptor is written and not replaced") {
  const TempDir directory;
  const std::string path = directory.file("redirected");
  write_bytes(path, "before ");
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  REQUIRE(fd >= 0);
  write_output("/dev/fd/" + std::to_string(fd), "abc");
  REQUIRE(::write(fd, " after", 6) == 6);
  ::close(fd);
  CHECK(read_bytes(path) == "before abc after");
  CHECK(directory.entries() == 1);
}

TEST_CASE("a full device is an error that names it") {
  OutputFile file("/dev/full");
  file.write("abc", 3);
  expect_error(ErrorKind::failed, "cannot write '/dev/full': No space left on device", [&] { file.commit(); });
  expect_error(ErrorKind::failed, "abandoned after an error", [&] { file.write("abc", 3); });
}

TEST_CASE("places that cannot be written are errors that name them") {
  const TempDir directory;
  expect_error(ErrorKind::failed, "Is a directory", [&] { OutputFile file(directory.path().string()); });
  const std::string path = directory.file("none/out");
  expect_error(ErrorKind::failed, "'" + path + "': No such file or directory", [&] { OutputFile file(path); });
}

TEST_CASE("a committed output file takes no more") {
  const TempDir directory;
  OutputFile file(directory.file("out"));
  file.commit();
  expect_error(ErrorKind::failed, "completed before", [&] { file.write("a", 1); });
  expect_error(ErrorKind::failed, "completed before", [&] { file.commit(); });
  CHECK(read_bytes(directory.file("out")).empty());
}
