// HDF5 files that are damaged, hold nothing of use, or reach outside themselves.

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "fixture.h"
#include "hdf5_fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

/// A file with one data set, "train".
std::string sample_file(const support::TemporaryDirectory& directory, const std::vector<hsize_t>& shape,
                        const Hdf5Storage& storage) {
  const std::string path = directory.file("x.h5");
  Hdf5Sample(path).create_empty("train", shape, storage);
  return path;
}

}  // namespace

TEST_CASE("hdf5 refusals: what is no HDF5 file") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  for (const std::string& contents :
       {std::string(), std::string("no HDF5"), std::string(5000, 'x'), std::string("\x89HDF\r\n\x1a\n"),
        "\x89HDF\r\n\x1a\n" + std::string(5000, '\xff')}) {
    write_bytes(path, contents);
    require_refused(ErrorKind::corrupt, {path, "cannot be read as HDF5"}, [&] { open_reader(path); });
    require_refused(ErrorKind::corrupt, {path, "cannot be read as HDF5"}, [&] { stored_metric(path); });
  }
}

TEST_CASE("hdf5 refusals: a truncated file") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  write_matrix(path, small_integers(1000, 10), {});
  const std::string whole = read_bytes(path);
  for (const std::size_t size : {whole.size() - 1, whole.size() / 2, std::size_t{500}, std::size_t{50}}) {
    write_bytes(path, whole.substr(0, size));
    require_refused(ErrorKind::corrupt, {path}, [&] { read_matrix(path); });
  }
}

TEST_CASE("hdf5 refusals: damaged bytes are refused or read, never worse") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  write_matrix(path, small_integers(50, 10), {.element = Element::u8, .deflate = 4});
  const std::string whole = read_bytes(path);
  std::size_t refused = 0;
  for (std::size_t at = 0; at < whole.size(); at += 5) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(~damaged[at]);
    write_bytes(path, damaged);
    try {
      const auto reader = open_reader(path);
      // A damaged extent may claim any number of rows, which read as zeros where nothing is stored.
      std::vector<float> rows(100 * reader->dim());
      reader->read(rows.data(), 100);
    } catch (const Error& error) {
      ++refused;
      if (error.kind() == ErrorKind::failed) FAIL("byte " << at << ": " << error.what());
    }
  }
  CHECK(refused > 30);
}

TEST_CASE("hdf5 refusals: a file that crashes the library is one error") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  // A pointer in the header of an attribute. Of a fuzz case the first byte is what to ask for.
  write_bytes(path, read_bytes(std::string(IVF_CASES_DIR) + "/hdf5/crashes-1.10.8").substr(1));
  // Version 1.10.8 follows a pointer that it never set: a crash, unless what its memory held before is an address. That
  // must not end the program that asks.
  try {
    const auto metric = stored_metric(path);
    CHECK_FALSE(metric.has_value());
    WARN("HDF5 " << hdf5_version() << " reads it");
  } catch (const Error& error) {
    // What it read instead may be the name of a metric that there is not.
    CHECK((error.kind() == ErrorKind::corrupt || error.kind() == ErrorKind::misuse));
  }
}

TEST_CASE("hdf5 refusals: nothing is left of an addition to a damaged file, and the file stays") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  write_matrix(path, small_integers(50, 10), {.element = Element::u8});
  const std::string whole = read_bytes(path);
  std::size_t refused = 0;
  for (std::size_t at = 8; at < whole.size(); at += 37) {
    CAPTURE(at);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(~damaged[at]);
    write_bytes(path, damaged);
    try {
      write_matrix(path + ":more", small_integers(5, 3), {});
    } catch (const Error& error) {
      ++refused;
      CHECK(std::string(error.what()).find(path) == 0);
      CHECK((read_bytes(path) == damaged));
    }
    const auto entries = std::filesystem::directory_iterator(directory.path());
    CHECK(std::distance(begin(entries), end(entries)) == 1);
  }
  CHECK(refused > 0);
}

TEST_CASE("hdf5 refusals: a compressed chunk that cannot be expanded") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  const Matrix matrix = small_integers(5000, 10);
  write_matrix(path, matrix, {.deflate = 4});
  std::string file = read_bytes(path);
  const std::size_t at = file.find("\x78\x5e");  // the head of a zlib stream of level 4
  REQUIRE(at != std::string::npos);
  file.replace(at + 100, 50, std::string(50, '\xaa'));
  write_bytes(path, file);
  require_refused(ErrorKind::corrupt, {"x.h5:train", "the chunk at row 0, column 0", "does not expand to"},
                  [&] { read_matrix(path); });
}

TEST_CASE("hdf5 refusals: a missing data set lists what there is") {
  const support::TemporaryDirectory directory;
  const std::string path = directory.file("x.h5");
  { Hdf5Sample sample(path); }
  require_refused(ErrorKind::misuse, {"no data set 'train'", "it has none"}, [&] { open_reader(path); });
  {
    Hdf5Sample sample(path);
    sample.create_empty("vectors", {2, 2});
    sample.group("g");
    sample.create_empty("g/inner", {2, 2});
  }
  require_refused(ErrorKind::misuse, {"no data set 'train'", "it has g/inner, vectors"}, [&] { open_reader(path); });
  require_refused(ErrorKind::misuse, {"no data set 'test'"}, [&] { open_reader(path, {.role = Role::queries}); });
  require_refused(ErrorKind::misuse, {"no data set 'g/none'"}, [&] { open_reader(path + ":g/none"); });
  require_refused(ErrorKind::misuse, {"no data set 'none/at/all'"}, [&] { open_reader(path + ":none/at/all"); });
  require_refused(ErrorKind::misuse, {"x.h5:g", "is a group", "g/inner"}, [&] { open_reader(path + ":g"); });
  {
    Hdf5Sample sample(path);
    for (int i = 0; i < 100; ++i) sample.create_empty("name" + std::to_string(i), {1, 1});
    H5Lcreate_soft("/nowhere", sample.id(), "dangling", H5P_DEFAULT, H5P_DEFAULT);
  }
  require_refused(ErrorKind::misuse, {"name0, name1, name10"}, [&] { open_reader(path); });
  require_refused(ErrorKind::misuse, {"no data set 'dangling'"}, [&] { open_reader(path + ":dangling"); });
}

TEST_CASE("hdf5 refusals: data sets that are no rows of numbers") {
  const support::TemporaryDirectory directory;
  const hid_t text = H5Tcopy(H5T_C_S1);
  const hid_t record = H5Tcreate(H5T_COMPOUND, 8);
  H5Tinsert(record, "a", 0, H5T_IEEE_F32LE);
  const hid_t flag = H5Tenum_create(H5T_STD_I8LE);
  const signed char yes = 1;
  H5Tenum_insert(flag, "yes", &yes);
  struct Case {
    ErrorKind kind;
    std::vector<hsize_t> shape;
    hid_t type;
    const char* part;
  };
  for (const Case& c : {Case{ErrorKind::misuse, {2, 2}, text, "no plain numbers"},
                        {ErrorKind::misuse, {2, 2}, record, "no plain numbers"},
                        {ErrorKind::misuse, {2, 2}, flag, "no plain numbers"},
                        {ErrorKind::misuse, {}, H5T_IEEE_F32LE, "has 0 axes"},
                        {ErrorKind::misuse, {2, 2, 2}, H5T_IEEE_F32LE, "has 3 axes"},
                        {ErrorKind::corrupt, {2, 0}, H5T_IEEE_F32LE, "1 to 65536, found 0"},
                        {ErrorKind::corrupt, {2, 65537}, H5T_IEEE_F32LE, "found 65537"}}) {
    CAPTURE(c.part);
    const std::string path = sample_file(directory, c.shape, {c.type, {}, {}});
    require_refused(c.kind, {"x.h5:train", c.part}, [&] { open_reader(path); });
  }
  H5Tclose(text);
  H5Tclose(record);
  H5Tclose(flag);
  const std::string path = sample_file(directory, {hsize_t{1} << 60, 65536}, {H5T_IEEE_F32LE, {1, 65536}, {}});
  require_refused(ErrorKind::corrupt, {"more than any file holds"}, [&] { open_reader(path); });
}

TEST_CASE("hdf5 refusals: data outside the file") {
  const support::TemporaryDirectory directory;
  const std::string secret = directory.file("secret.h5");
  Hdf5Sample(secret).create("train", {1, 1}, std::vector<double>{42});
  const std::string path = directory.file("x.h5");

  SECTION("an external link") {
    {
      Hdf5Sample sample(path);
      sample.group("g");
      H5Lcreate_external(secret.c_str(), "/train", sample.id(), "train", H5P_DEFAULT, H5P_DEFAULT);
      H5Lcreate_external(secret.c_str(), "/", sample.id(), "g/out", H5P_DEFAULT, H5P_DEFAULT);
      H5Lcreate_soft("/g/out/train", sample.id(), "soft", H5P_DEFAULT, H5P_DEFAULT);
    }
    for (const char* name : {"", ":g/out/train", ":soft"}) {
      CAPTURE(name);
      require_refused(ErrorKind::corrupt, {"link to another file"}, [&] { open_reader(path + name); });
    }
    // Writing through it would change a file that was not named.
    const std::string before = read_bytes(secret);
    require_refused(ErrorKind::failed, {"x.h5:g/out/new", "cannot be created"},
                    [&] { write_matrix(path + ":g/out/new", small_integers(1, 1), {}); });
    CHECK((read_bytes(secret) == before));
    write_matrix(path + ":train", small_integers(1, 1), {});
    CHECK((read_bytes(secret) == before));
    CHECK((read_matrix(path).values == small_integers(1, 1).values));
  }
  SECTION("external storage") {
    sample_file(directory, {1, 1}, {H5T_IEEE_F32LE, {}, [&](hid_t p) { H5Pset_external(p, secret.c_str(), 0, 4); }});
    require_refused(ErrorKind::corrupt, {"x.h5:train", "other files"}, [&] { open_reader(path); });
  }
  SECTION("a virtual data set") {
    const hsize_t one[] = {1, 1};
    const hid_t space = H5Screate_simple(2, one, nullptr);
    sample_file(directory, {1, 1},
                {H5T_IEEE_F32LE, {}, [&](hid_t p) { H5Pset_virtual(p, space, secret.c_str(), "/train", space); }});
    H5Sclose(space);
    require_refused(ErrorKind::corrupt, {"x.h5:train", "virtual"}, [&] { open_reader(path); });
  }
}

TEST_CASE("hdf5 refusals: a filter that is not built in, though a plugin folder is named") {
  const support::TemporaryDirectory directory;
  setenv("HDF5_PLUGIN_PATH", directory.path().c_str(), 1);
  constexpr H5Z_filter_t zstd_plugin = 32015;
  const std::string path = sample_file(
      directory, {100, 4},
      {H5T_IEEE_F32LE, {10, 4}, [](hid_t p) { H5Pset_filter(p, zstd_plugin, H5Z_FLAG_OPTIONAL, 0, nullptr); }});
  require_refused(ErrorKind::corrupt, {"x.h5:train", "no plugins are loaded", "h5repack -f GZIP"},
                  [&] { open_reader(path); });
  unsigned loading = 1;
  H5PLget_loading_state(&loading);
  CHECK(loading == 0);
  unsetenv("HDF5_PLUGIN_PATH");
}

TEST_CASE("hdf5 refusals: chunks that would fill the memory") {
  const support::TemporaryDirectory directory;
  // 2 GiB each; nothing is stored, so that the file is small.
  const std::string path =
      sample_file(directory, {1 << 20, 16384}, {H5T_IEEE_F32LE, {32768, 16384}, [](hid_t p) { H5Pset_deflate(p, 1); }});
  require_refused(ErrorKind::misuse, {"x.h5:train", "2147483648 bytes", "h5repack -l CHUNK"},
                  [&] { open_reader(path); });
}

TEST_CASE("hdf5 refusals: the library prints nothing, and the caller's setting survives") {
  const support::TemporaryDirectory directory;
  write_bytes(directory.file("x.h5"), "nothing");
  H5E_auto2_t before = nullptr;
  H5E_auto2_t after = nullptr;
  void* data = nullptr;
  H5Eget_auto2(H5E_DEFAULT, &before, &data);
  fflush(stderr);
  const int saved = dup(STDERR_FILENO);
  FILE* captured = tmpfile();
  dup2(fileno(captured), STDERR_FILENO);
  CHECK_THROWS_AS(open_reader(directory.file("x.h5")), Error);
  fflush(stderr);
  dup2(saved, STDERR_FILENO);
  close(saved);
  CHECK(lseek(fileno(captured), 0, SEEK_END) == 0);
  fclose(captured);
  H5Eget_auto2(H5E_DEFAULT, &after, &data);
  CHECK(before == after);
  CHECK(before != nullptr);
}
