// Standard input and output, named pipes and devices.

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

const std::vector<std::string>& formats() {
  static const std::vector<std::string> all{"fvecs", "bvecs", "ivecs", "fbin", "u8bin", "i8bin", "ibin", "npy"};
  return all;
}

/// The bytes of a file of this format.
std::string file_of(const std::string& format, const Matrix& matrix) {
  const support::TemporaryDirectory directory;
  const std::string spec = format + ":" + directory.file("x");
  write_matrix(spec, matrix, {.element = fixed_element(spec).value_or(Element::f32)});
  return read_bytes(directory.file("x"));
}

}  // namespace

TEST_CASE("pipe: every format is read from standard input") {
  const Matrix matrix = small_integers(5000, 31);
  for (const std::string& format : formats()) {
    CAPTURE(format);
    const std::string file = file_of(format, matrix);
    {
      const StandardInput input(file);
      CHECK((read_matrix(format + ":-").values == matrix.values));
    }
    {
      const StandardInput input(file);
      CHECK((read_matrix(format + ":-", {.start = 4001, .count = 33}, 10).values == slice(matrix, 4001, 33)));
    }
    {
      const StandardInput input(file);
      require_refused(ErrorKind::misuse, {"standard input", "start at row 5001", "5000 rows"},
                      [&] { open_reader(format + ":-", {.start = 5001}); });
    }
  }
  const StandardInput input(file_of("fvecs", matrix));
  const auto reader = open_reader("-");
  CHECK(reader->rows() == std::nullopt);
  CHECK(reader->name() == "standard input");
  CHECK((read_all(*reader) == matrix.values));
}

TEST_CASE("pipe: data that end early or late are refused") {
  const Matrix matrix = small_integers(3000, 31);
  for (const std::string& format : formats()) {
    CAPTURE(format);
    const std::string file = file_of(format, matrix);
    {
      const StandardInput input(file.substr(0, file.size() - 1));
      require_refused(ErrorKind::corrupt, {"standard input", "row 2999", "truncated"},
                      [&] { read_matrix(format + ":-"); });
    }
    {
      const StandardInput input(file + "x");
      const bool records = format.find("vecs") != std::string::npos;
      require_refused(ErrorKind::corrupt, {"standard input", records ? "row 3000" : "found more data"},
                      [&] { read_matrix(format + ":-"); });
    }
    {
      const StandardInput input("");
      require_refused(ErrorKind::corrupt, {"standard input"}, [&] { open_reader(format + ":-"); });
    }
  }
}

TEST_CASE("pipe: a redirected file is read from where it stands") {
  const support::TemporaryDirectory directory;
  const Matrix matrix = small_integers(100, 3);
  write_bytes(directory.file("x"), "head" + file_of("fbin", matrix));
  const int saved = dup(STDIN_FILENO);
  REQUIRE(freopen(directory.file("x").c_str(), "rb", stdin) != nullptr);
  lseek(STDIN_FILENO, 4, SEEK_SET);
  CHECK((read_matrix("fbin:-").values == matrix.values));
  lseek(STDIN_FILENO, 4, SEEK_SET);
  CHECK((read_matrix("fbin:-", {.start = 90}).values == slice(matrix, 90, 10)));
  dup2(saved, STDIN_FILENO);
  close(saved);
}

TEST_CASE("pipe: every format is written to standard output") {
  const Matrix matrix = small_integers(5000, 31);
  for (const std::string& format : formats()) {
    const std::string spec = format + ":-";
    const Element element = fixed_element(spec).value_or(Element::f32);
    const std::string file = file_of(format, matrix);
    for (const std::optional<std::uint64_t> rows :
         {std::optional<std::uint64_t>(5000), std::optional<std::uint64_t>()}) {
      CAPTURE(format, rows.has_value());
      CHECK((captured_output([&] { write_matrix(spec, matrix, {.element = element, .rows = rows}, 77); }) == file));
    }
  }
  CHECK((captured_output([&] { write_matrix("-", matrix, {}); }) == file_of("fvecs", matrix)));
}

TEST_CASE("pipe: with the number of rows known, bytes leave as they are made") {
  const Matrix matrix = small_integers(100000, 31);
  const std::string out = captured_output([&] {
    const auto writer = open_writer("npy:-", {.dim = 31, .rows = 200000});
    writer->write(matrix.values.data(), 100000);
  });
  CHECK(out.size() > 10 << 20);
  CHECK(out.find("(200000, 31)") != std::string::npos);
}

TEST_CASE("pipe: without it, nothing leaves before the end") {
  const Matrix matrix = small_integers(100000, 31);
  const std::string out = captured_output([&] {
    const auto writer = open_writer("npy:-", {.dim = 31});
    writer->write(matrix.values.data(), 100000);
  });
  CHECK(out.empty());
}

TEST_CASE("pipe: a wrong number of rows is refused where it cannot be put right, and put right where it can") {
  const Matrix matrix = small_integers(10, 3);
  for (const std::string format : {"fbin", "npy"}) {
    CAPTURE(format);
    require_refused(ErrorKind::failed, {"standard output", "announced 11 rows, 10 came"},
                    [&] { captured_output([&] { write_matrix(format + ":-", matrix, {.rows = 11}); }); });
    const support::TemporaryDirectory directory;
    write_matrix(format + ":" + directory.file("x"), matrix, {.rows = 11});
    CHECK((read_bytes(directory.file("x")) == file_of(format, matrix)));
  }
}

TEST_CASE("pipe: ground truth through pipes") {
  const std::vector<idx_t> ids{1, 2, 3, 4};
  const std::vector<float> distances{0.5f, 1.5f, 2.5f, 3.5f};
  const std::string file = captured_output([&] {
    const auto writer = open_writer("gt:-", {.dim = 2});
    writer->write_ids(ids.data(), 2);
    writer->write(distances.data(), 2);
    writer->finish();
  });
  CHECK(file == bytes(2u, 2u, 1, 2, 3, 4, 0.5f, 1.5f, 2.5f, 3.5f));
  {
    const StandardInput input(file);
    CHECK(read_id_matrix("gt:-") == ids);
  }
  const StandardInput input(file);
  CHECK(read_matrix("gt:-:distances").values == distances);
}

TEST_CASE("pipe: named pipes and devices are written to, not replaced") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("fifo.npy");
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  const Matrix matrix = small_integers(500, 3);
  std::thread writer([&] { write_matrix(path, matrix, {}); });
  CHECK((read_matrix(path).values == matrix.values));
  writer.join();
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK(S_ISFIFO(info.st_mode));

  write_matrix("fvecs:/dev/null", matrix, {});
  REQUIRE(stat("/dev/null", &info) == 0);
  CHECK(S_ISCHR(info.st_mode));
  require_refused(ErrorKind::failed, {"/dev/full", "No space left"},
                  [&] { write_matrix("fvecs:/dev/full", matrix, {}); });
}
