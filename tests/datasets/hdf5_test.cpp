// HDF5 files: what is read, however it is stored; what is written.

#include "hdf5_fixture.h"

#include "fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

std::vector<double> doubles(const Matrix& matrix) { return {matrix.values.begin(), matrix.values.end()}; }

void deflate(hid_t plist) {
  H5Pset_shuffle(plist);
  H5Pset_deflate(plist, 6);
}

}  // namespace

TEST_CASE("hdf5: every number type, both byte orders") {
  struct Case {
    hid_t type;
    Element element;
  };
  const Case cases[] = {
      {H5T_STD_I8LE, Element::i8},    {H5T_STD_I8BE, Element::i8},    {H5T_STD_U8LE, Element::u8},
      {H5T_STD_U8BE, Element::u8},    {H5T_STD_I16LE, Element::i32},  {H5T_STD_I16BE, Element::i32},
      {H5T_STD_U16LE, Element::i32},  {H5T_STD_U16BE, Element::i32},  {H5T_STD_I32LE, Element::i32},
      {H5T_STD_I32BE, Element::i32},  {H5T_STD_U32LE, Element::i64},  {H5T_STD_U32BE, Element::i64},
      {H5T_STD_I64LE, Element::i64},  {H5T_STD_I64BE, Element::i64},  {H5T_STD_U64LE, Element::i64},
      {H5T_STD_U64BE, Element::i64},  {H5T_IEEE_F32LE, Element::f32}, {H5T_IEEE_F32BE, Element::f32},
      {H5T_IEEE_F64LE, Element::f64}, {H5T_IEEE_F64BE, Element::f64}, {H5T_NATIVE_LDOUBLE, Element::f64},
  };
  const Matrix matrix = small_integers(300, 7);
  for (const Case& c : cases) {
    for (const bool chunked : {false, true}) {
      CAPTURE(element_name(c.element), H5Tget_size(c.type), chunked);
      const support::TemporaryDirectory directory;
      const std::string path = directory.file("x.h5");
      {
        Hdf5Sample sample(path);
        Hdf5Storage storage{c.type, {}, {}};
        if (chunked) storage = {c.type, {64, 3}, deflate};
        sample.create("train", {300, 7}, doubles(matrix), storage);
      }
      CHECK((read_matrix(path).values == matrix.values));
      CHECK((read_matrix(path, {.start = 250, .count = 13}).values == slice(matrix, 250, 13)));
      CHECK(open_reader(path)->element() == c.element);
      if (H5Tget_class(c.type) == H5T_INTEGER) {
        CHECK((read_id_matrix(path) == std::vector<idx_t>(matrix.values.begin(), matrix.values.end())));
      } else {
        require_refused(ErrorKind::misuse, {"x.h5:train", "ids must be integers"}, [&] { read_id_matrix(path); });
      }
    }
  }
}

TEST_CASE("hdf5: the whole range of integers") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  {
    Hdf5Sample sample(path);
    sample.create("u32", {1, 2}, {0, 4294967295.0}, {H5T_STD_U32LE, {}, {}});
    sample.create("u64", {1, 2}, {0, 0x1p62}, {H5T_STD_U64LE, {}, {}});
    sample.create("big", {3, 2}, {0, 1, 2, 3, 0x1p63, 5}, {H5T_STD_U64LE, {}, {}});
  }
  CHECK(read_id_matrix(path + ":u32") == std::vector<idx_t>{0, 4294967295LL});
  CHECK(read_id_matrix(path + ":u64") == std::vector<idx_t>{0, std::int64_t{1} << 62});
  CHECK(read_matrix(path + ":u64").values == std::vector<float>{0, 0x1p62f});
  require_refused(ErrorKind::misuse, {"x.h5:big", "row 2, column 0", "found 9223372036854775808"},
                  [&] { read_id_matrix(path + ":big"); });
  require_refused(ErrorKind::misuse, {"x.h5:u32", "row 0, column 1", "no exact float32"},
                  [&] { read_matrix(path + ":u32"); });
}

TEST_CASE("hdf5: float16, as h5py stores it") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  const Matrix matrix{2, {0.5f, -0x1p-24f, 65504, 3}};
  write_matrix(path, matrix, {.element = Element::f16});
  CHECK((read_matrix(path).values == matrix.values));
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t id = H5Dopen2(file, "train", H5P_DEFAULT);
  std::vector<float> by_library(4);
  CHECK(H5Dread(id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, by_library.data()) >= 0);
  CHECK((by_library == matrix.values));
  H5Dclose(id);
  H5Fclose(file);
}

TEST_CASE("hdf5: every chain of filters that is undone here, and chunks that skipped theirs") {
  const Matrix matrix = small_integers(500, 13);
  const std::vector<std::function<void(hid_t)>> chains{
      [](hid_t p) { H5Pset_shuffle(p); },
      [](hid_t p) { H5Pset_fletcher32(p); },
      [](hid_t p) { H5Pset_deflate(p, 1), H5Pset_fletcher32(p); },
      [](hid_t p) { H5Pset_fletcher32(p), H5Pset_shuffle(p), H5Pset_deflate(p, 9); },
      [](hid_t p) { H5Pset_deflate(p, 4), H5Pset_chunk_opts(p, H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS); },
  };
  for (std::size_t i = 0; i < chains.size(); ++i) {
    for (const hid_t type : {H5T_STD_U8LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE}) {
      CAPTURE(i, H5Tget_size(type));
      const support::TemporaryDirectory directory;
      const std::string path = directory.file("x.h5");
      Hdf5Sample(path).create("train", {500, 13}, doubles(matrix), {type, {31, 5}, chains[i]});
      CHECK((read_matrix(path, {}, 17).values == matrix.values));
    }
  }
}

TEST_CASE("hdf5: a wrong checksum is refused") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  Hdf5Sample(path).create("train", {4, 4}, std::vector<double>(16, 77),
                          {H5T_STD_U8LE, {4, 4}, [](hid_t p) { H5Pset_fletcher32(p); }});
  std::string file = read_bytes(path);
  file[file.find(std::string(16, 77)) + 5] ^= 1;
  write_bytes(path, file);
  require_refused(ErrorKind::corrupt, {"x.h5:train", "row 0, column 0", "has checksum"}, [&] { read_matrix(path); });
}

TEST_CASE("hdf5: what was never written reads as the fill value") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  const auto fill = [](hid_t p) {
    const double value = 2.5;
    H5Pset_fill_value(p, H5T_NATIVE_DOUBLE, &value);
  };
  {
    Hdf5Sample sample(path);
    sample.create_empty("plain", {3, 2}, {H5T_IEEE_F32BE, {}, fill});
    sample.create_empty("packed", {3, 2}, {H5T_IEEE_F32BE, {2, 2}, [&](hid_t p) { fill(p), H5Pset_deflate(p, 1); }});
    sample.create_empty("zero", {3, 2}, {H5T_IEEE_F32BE, {2, 2}, deflate});
  }
  CHECK(read_matrix(path + ":plain").values == std::vector<float>(6, 2.5f));
  CHECK(read_matrix(path + ":packed").values == std::vector<float>(6, 2.5f));
  CHECK(read_matrix(path + ":zero").values == std::vector<float>(6, 0));
}

TEST_CASE("hdf5: chunks of any shape, with any batch") {
  const Matrix matrix = small_integers(1000, 50);
  for (const auto& chunk :
       std::vector<std::vector<hsize_t>>{{1, 1}, {1000, 1}, {7, 50}, {999, 50}, {1000, 50}, {3, 49}}) {
    CAPTURE(chunk);
    const support::TemporaryDirectory directory;
    const std::string path = directory.file("x.h5");
    {
      Hdf5Sample sample(path);
      sample.create("train", {1000, 50}, doubles(matrix), {H5T_IEEE_F32BE, chunk, deflate});
    }
    for (const std::size_t batch : {1, 13, 2000}) CHECK((read_matrix(path, {}, batch).values == matrix.values));
    CHECK((read_matrix(path, {.start = 501, .count = 99}).values == slice(matrix, 501, 99)));
  }
}

TEST_CASE("hdf5: a chunk larger than a slab") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  constexpr hsize_t rows = 640;  // 10 MiB
  std::vector<double> values(rows * 4096);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i % 251);
  for (const bool packed : {false, true}) {
    Hdf5Storage storage{H5T_IEEE_F32LE, {rows, 4096}, {}};
    if (packed) storage.properties = deflate;
    Hdf5Sample(path).create("train", {rows, 4096}, values, storage);
    const Matrix matrix = read_matrix(path, {.start = 1}, 100);
    CHECK(matrix.rows() == rows - 1);
    for (std::size_t i = 0; i < matrix.values.size(); ++i) {
      if (matrix.values[i] != static_cast<float>((i + 4096) % 251)) FAIL("value " << i);
    }
  }
}

TEST_CASE("hdf5: the role names the data set, a path reaches any other") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  {
    Hdf5Sample sample(path);
    sample.create("train", {1, 1}, {1});
    sample.create("test", {1, 1}, {2});
    sample.create("neighbors", {1, 1}, {3}, {H5T_STD_I32LE, {}, {}});
    sample.create("distances", {1, 1}, {4});
    sample.group("a");
    sample.group("a/b");
    sample.create("a/b/c", {1, 1}, {5});
    H5Lcreate_soft("/a/b/c", sample.id(), "soft", H5P_DEFAULT, H5P_DEFAULT);
  }
  CHECK(read_matrix(path).values == std::vector<float>{1});
  CHECK(read_matrix(path, {.role = Role::queries}).values == std::vector<float>{2});
  CHECK(read_id_matrix(path, {.role = Role::neighbors}) == std::vector<idx_t>{3});
  CHECK(read_matrix(path, {.role = Role::distances}).values == std::vector<float>{4});
  CHECK(read_matrix(path + ":a/b/c", {.role = Role::queries}).values == std::vector<float>{5});
  CHECK(read_matrix(path + ":/a/b/c").values == std::vector<float>{5});
  CHECK(read_matrix(path + ":soft").values == std::vector<float>{5});
  CHECK(open_reader(path)->name() == path + ":train");
}

TEST_CASE("hdf5: one axis is a vector, or a list of ids") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  {
    Hdf5Sample sample(path);
    sample.create("vector", {3}, {1, 2, 3}, {H5T_IEEE_F32LE, {2}, {}});
    sample.create("ids", {3}, {7, 8, 9}, {H5T_STD_I64LE, {2}, deflate});
  }
  CHECK(read_matrix(path + ":vector").dim == 3);
  CHECK(read_matrix(path + ":vector").values == std::vector<float>{1, 2, 3});
  CHECK(open_reader(path + ":ids")->dim() == 1);
  CHECK(read_id_matrix(path + ":ids", {.start = 1}) == std::vector<idx_t>{8, 9});
}

TEST_CASE("hdf5: the end of a huge data set is read at once, in bounded memory") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  constexpr hsize_t rows = hsize_t{1} << 32;
  {
    Hdf5Sample sample(path);
    sample.create_empty("train", {rows, 100}, {H5T_IEEE_F32LE, {1000, 100}, deflate});
  }
  const std::size_t before = peak_memory();
  CHECK(read_matrix(path, {.start = rows - 5}).rows() == 5);
  CHECK(peak_memory() - before < (std::size_t{32} << 20));
}

TEST_CASE("hdf5: the metric is taken from the attribute") {
  struct Case {
    const char* text;
    Metric metric;
  };
  for (const Case& c : {Case{"euclidean", Metric::l2},
                        {"l2", Metric::l2},
                        {"sqeuclidean", Metric::l2},
                        {"angular", Metric::cosine},
                        {"cosine", Metric::cosine},
                        {"dot", Metric::ip},
                        {"ip", Metric::ip},
                        {"inner_product", Metric::ip},
                        {"euclidean  ", Metric::l2}}) {
    for (const bool variable : {false, true}) {
      CAPTURE(c.text, variable);
      const support::TemporaryDirectory directory;
      const std::string path = directory.file("x.h5");
      Hdf5Sample(path).text_attribute("distance", c.text, variable);
      CHECK(stored_metric(path) == c.metric);
      CHECK(stored_metric(path + ":any") == c.metric);
    }
  }
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  { Hdf5Sample sample(path); }
  CHECK(stored_metric(path) == std::nullopt);
  CHECK(stored_metric(directory.file("none.fvecs")) == std::nullopt);
  CHECK(stored_metric("-") == std::nullopt);
  Hdf5Sample(path).text_attribute("distance", "jaccard", true);
  require_refused(ErrorKind::misuse, {"'jaccard'", "euclidean, angular and dot"}, [&] { stored_metric(path); });
  Hdf5Sample(path).text_attribute("distance", std::string(5000, 'x'), false);
  require_refused(ErrorKind::corrupt, {"'distance'", "longer than 4096"}, [&] { stored_metric(path); });
  {
    Hdf5Sample sample(path);
    const hid_t space = H5Screate(H5S_SCALAR);
    H5Aclose(H5Acreate2(sample.id(), "distance", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
  }
  require_refused(ErrorKind::corrupt, {"'distance'", "one string"}, [&] { stored_metric(path); });
}

TEST_CASE("hdf5: several data sets of one file") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  const Matrix base = small_integers(3000, 20);
  const Matrix queries = small_integers(10, 20);
  const std::vector<idx_t> ids{1, 2, 3};
  {
    const auto file = Hdf5File::create(path);
    file->attribute("distance", "angular");
    Writer& train = file->dataset("train", 20, Element::u8, 9);
    Writer& test = file->dataset("test", 20, Element::f32);
    Writer& neighbors = file->dataset("deep/neighbors", 3, Element::i32);
    train.write(base.values.data(), 1000);
    test.write(queries.values.data(), 10);
    train.write(base.values.data() + 20000, 2000);
    neighbors.write_ids(ids.data(), 1);
    CHECK_FALSE(std::filesystem::exists(path));
    file->finish();
    file->finish();
  }
  CHECK((read_matrix(path).values == base.values));
  CHECK((read_matrix(path, {.role = Role::queries}).values == queries.values));
  CHECK(read_id_matrix(path + ":deep/neighbors") == ids);
  CHECK(stored_metric(path) == Metric::cosine);
  CHECK(std::filesystem::file_size(path) < 3000 * 20);
}

TEST_CASE("hdf5: misuse of a file of several data sets") {
  const support::TemporaryDirectory directory;
  const auto file = Hdf5File::create(directory.file("x.h5"));
  file->dataset("a", 2, Element::u8);
  require_refused(ErrorKind::misuse, {"x.h5:a", "written twice"}, [&] { file->dataset("a", 3, Element::u8); });
  require_refused(ErrorKind::misuse, {"x.h5:b", "found 0"}, [&] { file->dataset("b", 0, Element::u8); });
  require_refused(ErrorKind::failed, {"x.h5:a/b", "cannot be created"}, [&] { file->dataset("a/b", 1, Element::u8); });
  require_refused(ErrorKind::misuse, {"/dev/null", "pipe or device"}, [] { Hdf5File::create("/dev/null"); });
}

TEST_CASE("hdf5: a named data set joins a file, a file named alone is made anew") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  const Matrix base = small_integers(30, 4);
  const Matrix queries = small_integers(5, 6);
  write_matrix(path, base, {.distance = "dot"});
  write_matrix(path + ":test", queries, {});
  CHECK((read_matrix(path).values == base.values));
  CHECK((read_matrix(path + ":test").values == queries.values));
  CHECK(stored_metric(path) == Metric::ip);
  write_matrix(path + ":train", queries, {.distance = "euclidean"});
  CHECK((read_matrix(path).values == queries.values));
  CHECK(stored_metric(path) == Metric::l2);
  write_matrix(path, base, {.role = Role::queries});
  require_refused(ErrorKind::misuse, {"no data set 'train'", "it has test"}, [&] { open_reader(path); });
}

TEST_CASE("hdf5: the same rows give the same bytes") {
  const support::TemporaryDirectory directory;
  const Matrix matrix = small_integers(3000, 20);
  write_matrix(directory.file("a.h5"), matrix, {.distance = "dot", .deflate = 4});
  write_matrix(directory.file("b.h5"), matrix, {.distance = "dot", .deflate = 4}, 17);
  CHECK((read_bytes(directory.file("a.h5")) == read_bytes(directory.file("b.h5"))));
}
