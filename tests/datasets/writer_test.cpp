// Destinations: whole or not at all, exact or refused.

#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

const char* const kNames[] = {"x.fvecs", "x.fbin", "x.npy", "x.h5", "x.h5:some"};

std::size_t files_in(const support::TemporaryDirectory& directory) {
  const std::filesystem::directory_iterator all(directory.path());
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

}  // namespace

TEST_CASE("writers: nothing appears before finish, nothing is left without it") {
  const Matrix matrix = small_integers(20000, 10);
  for (const char* name : kNames) {
    CAPTURE(name);
    const support::TemporaryDirectory directory;
    const std::string spec = directory.file(name);
    const std::string path = spec.substr(0, spec.find(":some"));
    {
      const auto writer = open_writer(spec, {.dim = 10});
      writer->write(matrix.values.data(), matrix.rows());
      CHECK_FALSE(std::filesystem::exists(path));
    }
    CHECK(files_in(directory) == 0);
    write_matrix(spec, matrix, {});
    CHECK(files_in(directory) == 1);
    const std::string before = read_bytes(path);
    {
      const auto writer = open_writer(spec, {.dim = 10});
      writer->write(matrix.values.data(), 5);
    }
    CHECK((read_bytes(path) == before));
    CHECK(files_in(directory) == 1);
    write_matrix(spec, small_integers(3, 2), {});
    CHECK((read_matrix(spec).values == small_integers(3, 2).values));
  }
}

TEST_CASE("writers: a value that does not fit is refused with its place, and nothing is left") {
  struct Case {
    const char* name;
    Element element;
    float value;
  };
  for (const Case& c : {Case{"x.bvecs", Element::u8, 256},
                        {"x.ivecs", Element::i32, 0.5f},
                        {"x.u8bin", Element::u8, -1},
                        {"x.i8bin", Element::i8, 128},
                        {"x.npy", Element::f16, 0.1f},
                        {"x.npy", Element::i64, 1e30f},
                        {"x.h5", Element::i8, std::numeric_limits<float>::quiet_NaN()}}) {
    CAPTURE(c.name, c.value);
    const support::TemporaryDirectory directory;
    Matrix matrix = small_integers(90000, 3);
    matrix.values[80001 * 3 + 2] = c.value;
    require_refused(ErrorKind::misuse, {c.name, "row 80001, column 2", element_name(c.element)},
                    [&] { write_matrix(directory.file(c.name), matrix, {.element = c.element}, 90000); });
    CHECK(files_in(directory) == 0);
  }
  const support::TemporaryDirectory directory;
  const auto writer = open_writer(directory.file("x.ivecs"), {.dim = 2, .element = Element::i32});
  const std::vector<idx_t> ids{1, 2, 3, 2147483648LL};
  require_refused(ErrorKind::misuse, {"row 1, column 1", "2147483648", "int32"},
                  [&] { writer->write_ids(ids.data(), 2); });
}

TEST_CASE("writers: element types and dimensions that a format does not have") {
  const support::TemporaryDirectory directory;
  const auto refuse = [&](const char* name, const WriteOptions& options, std::initializer_list<std::string> parts) {
    require_refused(ErrorKind::misuse, parts, [&] { open_writer(directory.file(name), options); });
  };
  refuse("x.fvecs", {.dim = 3, .element = Element::f64}, {"x.fvecs", "stores float32, not float64"});
  refuse("x.bvecs", {.dim = 3}, {"stores uint8, not float32"});
  refuse("x.ibin", {.dim = 3, .element = Element::i64}, {"stores int32, not int64"});
  for (const char* name : kNames) {
    refuse(name, {.dim = 0}, {"1 to 65536, found 0"});
    refuse(name, {.dim = 65537}, {"found 65537"});
  }
  CHECK(files_in(directory) == 0);
}

TEST_CASE("writers: a folder that does not exist") {
  for (const char* name : {"x.fvecs", "x.npy", "x.h5"}) {
    require_refused(ErrorKind::failed, {name},
                    [&] { open_writer(std::string("/nonexistent/folder/") + name, {.dim = 1}); });
  }
}

TEST_CASE("writers: what is no HDF5 file is not added to") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  write_bytes(path, "precious");
  require_refused(ErrorKind::corrupt, {path, "nothing can be added"},
                  [&] { open_writer(path + ":train", {.dim = 1}); });
  CHECK((read_bytes(path) == "precious"));
  CHECK(files_in(directory) == 1);
}
