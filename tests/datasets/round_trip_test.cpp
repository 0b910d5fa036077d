// What is written is what is read, in every format and element type, however it is cut into batches.

#include <cmath>
#include "fixture.h"

#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

struct Target {
  const char* spec;
  Element element;
};

/// Every format with every element type that it takes.
const std::vector<Target>& targets() {
  static const std::vector<Target> all = [] {
    std::vector<Target> list{{"x.fvecs", Element::f32}, {"x.bvecs", Element::u8}, {"x.ivecs", Element::i32},
                             {"x.fbin", Element::f32},  {"x.u8bin", Element::u8}, {"x.i8bin", Element::i8},
                             {"x.ibin", Element::i32},  {"x.FBIN", Element::f32}, {"fvecs:plain", Element::f32}};
    for (const Element element :
         {Element::f32, Element::f64, Element::f16, Element::u8, Element::i8, Element::i32, Element::i64}) {
      list.push_back({"x.npy", element});
      list.push_back({"x.h5", element});
      list.push_back({"x.hdf5:deep/er/name", element});
    }
    return list;
  }();
  return all;
}

/// The spec with its path moved into a directory.
std::string within(const support::TemporaryDirectory& directory, const std::string& spec) {
  const std::string prefix = "fvecs:";
  if (spec.rfind(prefix, 0) == 0) return prefix + directory.file(spec.substr(prefix.size()));
  return directory.file(spec);
}

}  // namespace

TEST_CASE("round trip: every format and element type") {
  for (const auto& [rows, dim] : {std::pair<std::size_t, std::size_t>{1, 1}, {7, 5}, {1000, 33}, {3, 65536}}) {
    const Matrix matrix = small_integers(rows, dim);
    for (const Target& target : targets()) {
      CAPTURE(target.spec, element_name(target.element), rows, dim);
      const support::TemporaryDirectory directory;
      const std::string spec = within(directory, target.spec);
      write_matrix(spec, matrix, {.element = target.element});
      CHECK(open_reader(spec)->element() == target.element);
      const Matrix back = read_matrix(spec);
      CHECK(back.dim == dim);
      CHECK((back.values == matrix.values));
    }
  }
}

TEST_CASE("round trip: the batch size changes neither the file nor what is read") {
  const Matrix matrix = small_integers(3001, 17);
  for (const Target& target : targets()) {
    CAPTURE(target.spec, element_name(target.element));
    const support::TemporaryDirectory directory;
    const std::string spec = within(directory, target.spec);
    write_matrix(spec, matrix, {.element = target.element}, 3001);
    const support::TemporaryDirectory other;
    const std::string odd = within(other, target.spec);
    write_matrix(odd, matrix, {.element = target.element}, 13);
    const auto file = [](const support::TemporaryDirectory& where) {
      return read_bytes(std::filesystem::directory_iterator(where.path())->path().string());
    };
    CHECK((file(directory) == file(other)));
    for (const std::size_t batch : {1, 7, 1024, 5000}) CHECK((read_matrix(spec, {}, batch).values == matrix.values));
  }
}

TEST_CASE("round trip: start and count select rows") {
  const Matrix matrix = small_integers(2000, 9);
  for (const Target& target : targets()) {
    CAPTURE(target.spec, element_name(target.element));
    const support::TemporaryDirectory directory;
    const std::string spec = within(directory, target.spec);
    write_matrix(spec, matrix, {.element = target.element});
    CHECK((read_matrix(spec, {.start = 1990}).values == slice(matrix, 1990, 10)));
    CHECK((read_matrix(spec, {.start = 3, .count = 1001}, 100).values == slice(matrix, 3, 1001)));
    CHECK((read_matrix(spec, {.count = 5000}).values == matrix.values));
    CHECK(read_matrix(spec, {.start = 2000}).values.empty());
    CHECK(read_matrix(spec, {.count = 0}).values.empty());
    require_refused(ErrorKind::misuse, {"start at row 2001", "2000 rows"}, [&] { open_reader(spec, {.start = 2001}); });
  }
}

TEST_CASE("round trip: ids keep all their bits") {
  const std::vector<idx_t> ids{0, -1, 2147483647, -2147483648LL, 5, 6};
  for (const Target& target : targets()) {
    if (target.element != Element::i32 && target.element != Element::i64) continue;
    CAPTURE(target.spec, element_name(target.element));
    const support::TemporaryDirectory directory;
    const std::string spec = within(directory, target.spec);
    const auto writer = open_writer(spec, {.dim = 3, .element = target.element});
    writer->write_ids(ids.data(), 2);
    writer->finish();
    CHECK(read_id_matrix(spec) == ids);
  }
  const support::TemporaryDirectory directory;
  const std::string wide = directory.file("x.npy");
  const std::vector<idx_t> large{std::numeric_limits<idx_t>::max(), std::numeric_limits<idx_t>::min()};
  const auto writer = open_writer(wide, {.dim = 1, .element = Element::i64});
  writer->write_ids(large.data(), 2);
  writer->finish();
  CHECK(read_id_matrix(wide) == large);
}

TEST_CASE("round trip: NaN and infinity pass through") {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Matrix matrix{4, {infinity, -infinity, nan, -0.0f}};
  for (const char* name : {"x.fvecs", "x.fbin", "x.npy", "x.h5"}) {
    for (const Element element : {Element::f32, Element::f64, Element::f16}) {
      if (fixed_element(name) && element != Element::f32) continue;
      CAPTURE(name, element_name(element));
      const support::TemporaryDirectory directory;
      write_matrix(directory.file(name), matrix, {.element = element});
      const Matrix back = read_matrix(directory.file(name));
      CHECK(back.values[0] == infinity);
      CHECK(back.values[1] == -infinity);
      CHECK(back.values[2] != back.values[2]);
      CHECK((back.values[3] == 0 && std::signbit(back.values[3])));
    }
  }
}

TEST_CASE("round trip: float64 is rounded to the nearest float32") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.npy");
  write_matrix(path, small_integers(1, 2), {.element = Element::f64});
  std::string file = read_bytes(path);
  file.replace(128, 16, bytes(0.1, 1 + 0x1.8p-24));
  write_bytes(path, file);
  CHECK(read_matrix(path).values == std::vector<float>{0.1f, 1 + 0x1p-23f});
}

TEST_CASE("round trip: no rows at all") {
  for (const Target& target : targets()) {
    const support::TemporaryDirectory directory;
    const std::string spec = within(directory, target.spec);
    CAPTURE(target.spec);
    write_matrix(spec, {3, {}}, {.element = target.element});
    if (spec.find("vecs") != std::string::npos) {
      require_refused(ErrorKind::corrupt, {"is empty", "dimension is unknown"}, [&] { open_reader(spec); });
    } else {
      CHECK(read_matrix(spec).values.empty());
      CHECK(open_reader(spec)->dim() == 3);
    }
  }
}

TEST_CASE("read_all: reads what is left, or as much as asked for") {
  const support::TemporaryDirectory directory;
  const Matrix matrix = small_integers(100, 3);
  write_matrix(directory.file("x.fvecs"), matrix, {});
  const auto reader = open_reader(directory.file("x.fvecs"), {.start = 10});
  CHECK((read_all(*reader, 20) == slice(matrix, 10, 20)));
  CHECK((read_all(*reader) == slice(matrix, 30, 70)));
  CHECK(read_all(*reader).empty());
}
