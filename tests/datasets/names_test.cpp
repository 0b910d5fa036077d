// How sources and destinations are named.

#include <sys/stat.h>

#include "fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

TEST_CASE("names: a format can be put before the path") {
  const support::TemporaryDirectory directory;
  const Matrix matrix = small_integers(5, 4);
  const std::string plain = directory.file("plain");
  for (const char* format : {"fvecs", "fbin", "npy", "h5", "hdf5"}) {
    CAPTURE(format);
    const std::string spec = std::string(format) + ":" + plain;
    write_matrix(spec, matrix, {});
    CHECK((read_matrix(spec).values == matrix.values));
  }
  write_matrix("h5:" + plain + ":some", matrix, {});
  CHECK((read_matrix("hdf5:" + plain + ":some").values == matrix.values));
}

TEST_CASE("names: the prefix wins over the extension, and odd paths work") {
  const support::TemporaryDirectory directory;
  const Matrix matrix = small_integers(5, 4);
  write_matrix("fbin:" + directory.file("x.npy"), matrix, {});
  CHECK((read_matrix("fbin:" + directory.file("x.npy")).values == matrix.values));
  require_refused(ErrorKind::corrupt, {"magic number"}, [&] { open_reader(directory.file("x.npy")); });
  for (const char* name : {"a:b.fvecs", "with space.fvecs", "dots.h5.fvecs", "x.h5", "UPPER.H5"}) {
    CAPTURE(name);
    write_matrix(directory.file(name), matrix, {});
    CHECK((read_matrix(directory.file(name)).values == matrix.values));
  }
  // The first colon behind .h5 starts the data set's name, which may hold others.
  write_matrix(directory.file("y.h5:a:b.h5:c"), matrix, {});
  CHECK(open_reader(directory.file("y.h5:a:b.h5:c"))->name() == directory.file("y.h5") + ":a:b.h5:c");
}

TEST_CASE("names: what cannot be understood is refused with the remedy") {
  constexpr auto kind = ErrorKind::misuse;
  require_refused(kind, {"is empty"}, [] { open_reader(""); });
  require_refused(kind, {"'vectors.bin'", ".fvecs", "fvecs:vectors.bin"}, [] { open_reader("vectors.bin"); });
  require_refused(kind, {"'a.fvecs/b'"}, [] { open_reader("a.fvecs/b"); });
  require_refused(kind, {"no path", "fvecs:-"}, [] { open_reader("fvecs:"); });
  require_refused(kind, {"ends in a colon"}, [] { open_reader("x.h5:"); });
  require_refused(kind, {"generated"}, [] { open_writer("gaussian:n=1,d=1", {.dim = 1}); });
  require_refused(kind, {"'out.csv'"}, [] { open_writer("out.csv", {.dim = 1}); });
  require_refused(kind, {"HDF5", "pipe", "npy:-"}, [] { open_writer("h5:-", {.dim = 1}); });
  require_refused(kind, {"HDF5", "pipe"}, [] { open_reader("h5:-"); });
}

TEST_CASE("names: files that cannot be opened") {
  const support::TemporaryDirectory directory;
  for (const char* name : {"none.fvecs", "none.fbin", "none.npy", "none.h5"}) {
    require_refused(ErrorKind::failed, {name, "cannot be opened", "No such file"},
                    [&] { open_reader(directory.file(name)); });
  }
  for (const char* name : {"folder.fvecs", "folder.npy", "folder.h5"}) {
    REQUIRE(mkdir(directory.file(name).c_str(), 0700) == 0);
    require_refused(ErrorKind::misuse, {name, "folder"}, [&] { open_reader(directory.file(name)); });
  }
}

TEST_CASE("names: is_hdf5 and fixed_element") {
  for (const char* spec : {"x.h5", "x.hdf5", "x.h5:train", "h5:x", "hdf5:x:y", "/a/b.HDF5:c/d"}) CHECK(is_hdf5(spec));
  for (const char* spec : {"", "-", "x.fvecs", "h5", "x.h5.fvecs", "x.h5:", "fvecs:x.h5"}) CHECK_FALSE(is_hdf5(spec));
  CHECK(fixed_element("-") == Element::f32);
  CHECK(fixed_element("x.bvecs") == Element::u8);
  CHECK(fixed_element("x.u8bin") == Element::u8);
  CHECK(fixed_element("x.i8bin") == Element::i8);
  CHECK(fixed_element("ivecs:-") == Element::i32);
  CHECK(fixed_element("x.ibin") == Element::i32);
  CHECK(fixed_element("x.npy") == std::nullopt);
  CHECK(fixed_element("x.h5:a") == std::nullopt);
  CHECK(fixed_element("gt:x") == std::nullopt);
}
