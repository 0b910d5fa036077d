// .fvecs and its kin, the big-ann formats, and what can be wrong with them.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

constexpr auto kCorrupt = ErrorKind::corrupt;
constexpr auto kMisuse = ErrorKind::misuse;

std::string fvecs_row(std::int32_t dim, float value) {
  std::string row = bytes(dim);
  for (std::int32_t i = 0; i < dim; ++i) row += bytes(value);
  return row;
}

}  // namespace

TEST_CASE("bin files: the bytes are those of the format") {
  const support::TemporaryDirectory directory;
  const Matrix matrix{2, {1, 2, 3, 4}};
  write_matrix(directory.file("x.fvecs"), matrix, {});
  CHECK((read_bytes(directory.file("x.fvecs")) == bytes(2, 1.0f, 2.0f, 2, 3.0f, 4.0f)));
  write_matrix(directory.file("x.bvecs"), matrix, {.element = Element::u8});
  CHECK((read_bytes(directory.file("x.bvecs")) == bytes(2, '\1', '\2', 2, '\3', '\4')));
  write_matrix(directory.file("x.ivecs"), matrix, {.element = Element::i32});
  CHECK((read_bytes(directory.file("x.ivecs")) == bytes(2, 1, 2, 2, 3, 4)));
  write_matrix(directory.file("x.fbin"), matrix, {});
  CHECK((read_bytes(directory.file("x.fbin")) == bytes(2u, 2u, 1.0f, 2.0f, 3.0f, 4.0f)));
  write_matrix(directory.file("x.u8bin"), matrix, {.element = Element::u8});
  CHECK((read_bytes(directory.file("x.u8bin")) == bytes(2u, 2u, '\1', '\2', '\3', '\4')));
}

TEST_CASE("bin files: damage is refused with its place") {
  struct Case {
    const char* name;
    std::string bytes;
    std::initializer_list<std::string> parts;
  };
  const std::string good = fvecs_row(3, 1) + fvecs_row(3, 2);
  const std::uint32_t two = 2;
  const Case cases[] = {
      {"empty.fvecs", "", {"empty.fvecs", "is empty"}},
      {"short.fvecs", "\1\0", {"byte 0", "4 bytes", "after 1"}},
      {"zero.fvecs", bytes(0), {"byte 0", "1 to 65536", "found 0"}},
      {"negative.fvecs", bytes(-4, 1.0f), {"byte 0", "found -4"}},
      {"large.fvecs", bytes(65537), {"found 65537"}},
      {"largest.fvecs", bytes(0x7fffffff), {"found 2147483647"}},
      {"cut.fvecs", good.substr(0, 30), {"multiple of 16", "found 30", "14 bytes too many"}},
      {"mixed.fvecs",
       fvecs_row(3, 1) + bytes(2) + std::string(12, '\0'),
       {"byte 16 (row 1)", "dimension 3", "found 2"}},
      {"cut.bvecs", bytes(4, 'a', 'b'), {"multiple of 8", "found 6"}},
      {"cut.ivecs", bytes(1, 7, 1), {"multiple of 8", "found 12"}},
      {"empty.fbin", "", {"header of 8 bytes", "after 0"}},
      {"short.fbin", bytes(two), {"header of 8 bytes", "after 4"}},
      {"zero.fbin", bytes(two, 0u), {"byte 4", "found 0"}},
      {"large.fbin", bytes(two, 70000u), {"byte 4", "found 70000"}},
      {"largest.fbin", bytes(0xffffffffu, 0xffffffffu), {"byte 4", "found 4294967295"}},
      {"cut.fbin", bytes(two, two, 1.0f), {"2 rows of 2 float32", "24 bytes in all", "found 12", "truncated"}},
      {"long.fbin", bytes(two, 1u, 1.0f, 2.0f, 3.0f), {"16 bytes in all", "found 20", "longer"}},
      {"huge.fbin", bytes(0xffffffffu, 65536u), {"1125899906580488 bytes", "found 8"}},
      {"cut.u8bin", bytes(two, two, 'a'), {"2 rows of 2 uint8", "12 bytes in all", "found 9"}},
      {"cut.i8bin", bytes(two, two, 'a'), {"2 rows of 2 int8"}},
      {"cut.ibin", bytes(two, two, 1), {"2 rows of 2 int32"}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const support::TemporaryDirectory directory;
    write_bytes(directory.file(c.name), c.bytes);
    require_refused(kCorrupt, c.parts, [&] { read_matrix(directory.file(c.name)); });
  }
}

TEST_CASE("bin files: a row of another dimension is found wherever it lies") {
  const support::TemporaryDirectory directory;
  std::string file;
  for (int row = 0; row < 5000; ++row) file += fvecs_row(1, 1);
  const std::int32_t wrong = 9;
  file.replace(4321 * 8, 4, bytes(wrong));
  write_bytes(directory.file("x.fvecs"), file);
  require_refused(kCorrupt, {"byte 34568 (row 4321)", "dimension 1", "found 9"},
                  [&] { read_matrix(directory.file("x.fvecs")); });
  CHECK(read_matrix(directory.file("x.fvecs"), {.count = 4321}).rows() == 4321);
  CHECK(read_matrix(directory.file("x.fvecs"), {.start = 4322}).rows() == 678);
}

TEST_CASE("bin files: a file that shrinks while it is read is refused") {
  const support::TemporaryDirectory directory;
  for (const char* name : {"x.fvecs", "x.fbin"}) {
    const std::string path = directory.file(name);
    write_matrix(path, small_integers(400000, 2), {});
    const auto reader = open_reader(path);
    REQUIRE(truncate(path.c_str(), 2000004) == 0);
    require_refused(kCorrupt, {name, "truncated"}, [&] { read_all(*reader); });
  }
}

TEST_CASE("bin files: ids must be integers, and float32 exact") {
  const support::TemporaryDirectory directory;
  write_matrix(directory.file("x.fvecs"), small_integers(2, 2), {});
  require_refused(kMisuse, {"x.fvecs", "ids must be integers", "float32"},
                  [&] { read_id_matrix(directory.file("x.fvecs")); });
  write_bytes(directory.file("x.ivecs"), bytes(2, 1, 2) + bytes(2, 3, 16777217));
  require_refused(kMisuse, {"row 1, column 1", "int32", "no exact float32"},
                  [&] { read_matrix(directory.file("x.ivecs")); });
  write_bytes(directory.file("x.ibin"), bytes(2u, 2u, 1, 2, 16777217, 3));
  require_refused(kMisuse, {"row 1, column 0"}, [&] { read_matrix(directory.file("x.ibin"), {.start = 1}); });
}

TEST_CASE("ground truth: written together, read by halves") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("truth");
  const std::vector<idx_t> ids{5, 6, 7, 8, 9, 10};
  const std::vector<float> distances{0.5f, 1, 2, 3, 4, 5};
  const auto writer = open_writer("gt:" + path, {.dim = 2});
  writer->write(distances.data(), 1);
  writer->write_ids(ids.data(), 3);
  writer->write(distances.data() + 2, 2);
  writer->finish();
  CHECK((read_bytes(path) == bytes(3u, 2u, 5, 6, 7, 8, 9, 10, 0.5f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f)));

  const ReadOptions neighbors{.role = Role::neighbors};
  const ReadOptions as_distances{.role = Role::distances};
  CHECK(read_id_matrix("gt:" + path) == ids);
  CHECK(read_id_matrix("gt:" + path, neighbors) == ids);
  CHECK(read_id_matrix("gt:" + path + ":ids", as_distances) == ids);
  CHECK(read_matrix("gt:" + path, as_distances).values == distances);
  CHECK(read_matrix("gt:" + path + ":distances").values == distances);
  CHECK(read_matrix("gt:" + path + ":distances", {.start = 2}).values == std::vector<float>{4, 5});
  CHECK(read_id_matrix("gt:" + path, {.start = 1, .count = 1}) == std::vector<idx_t>{7, 8});

  SECTION("an .ibin of just that size is ground truth") {
    std::filesystem::rename(path, path + ".ibin");
    CHECK(read_id_matrix(path + ".ibin", neighbors) == ids);
    CHECK(read_matrix(path + ".ibin", as_distances).values == distances);
    CHECK(open_reader(path + ".ibin")->name() == path + ".ibin:ids");
  }
  SECTION("other sizes are refused") {
    write_bytes(path, read_bytes(path).substr(0, 50));
    require_refused(kCorrupt, {"truth:ids", "56 bytes in all", "found 50", "truncated"},
                    [&] { open_reader("gt:" + path); });
  }
  SECTION("halves of different length are refused") {
    const auto unequal = open_writer("gt:" + directory.file("unequal"), {.dim = 2});
    unequal->write_ids(ids.data(), 3);
    unequal->write(distances.data(), 2);
    require_refused(kMisuse, {"as many rows", "3 and 2"}, [&] { unequal->finish(); });
  }
  SECTION("one half alone cannot be written") {
    require_refused(kMisuse, {"drop ':ids'"}, [&] { open_writer("gt:" + path + ":ids", {.dim = 2}); });
  }
}

TEST_CASE("bin files: the end of a sparse file of 100 GB is read at once") {
  const support::TemporaryDirectory directory;
  constexpr std::int32_t dim = 128;
  constexpr std::uint64_t record = 4 + 4 * dim;
  constexpr std::uint64_t rows = 100000000000ULL / record;
  const std::string tail = fvecs_row(dim, 1) + fvecs_row(dim, 2) + fvecs_row(dim, 3);
  struct Case {
    const char* name;
    std::string head;
    std::string tail;
    std::uint64_t size;
  };
  const Case cases[] = {
      {"x.fvecs", bytes(dim), tail, rows * record},
      {"x.u8bin", bytes(0x80000000u, std::uint32_t{dim}), std::string(3 * dim, '\2'), 8 + 0x80000000ULL * dim},
  };
  const std::size_t before = peak_memory();
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const std::string path = directory.file(c.name);
    write_bytes(path, c.head);
    const int fd = open(path.c_str(), O_WRONLY);
    REQUIRE(pwrite(fd, c.tail.data(), c.tail.size(), static_cast<off_t>(c.size - c.tail.size())) ==
            static_cast<ssize_t>(c.tail.size()));
    close(fd);
    const std::uint64_t count = *open_reader(path)->rows();
    const Matrix read = read_matrix(path, {.start = count - 3});
    CHECK(read.rows() == 3);
    CHECK(read.values[2 * dim] == (c.name[2] == 'f' ? 3.0f : 2.0f));
  }
  CHECK(peak_memory() - before < (std::size_t{16} << 20));
}

TEST_CASE("bin files: a large file is read in bounded memory") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.u8bin");
  write_bytes(path, bytes(4u << 20, 128u));
  REQUIRE(truncate(path.c_str(), 8 + (off_t{512} << 20)) == 0);
  const auto reader = open_reader(path);
  std::vector<float> rows(1024 * 128);
  const std::size_t before = peak_memory();
  std::uint64_t total = 0;
  while (const std::size_t count = reader->read(rows.data(), 1024)) total += count;
  CHECK(total == 4u << 20);
  CHECK(peak_memory() - before < (std::size_t{8} << 20));
}
