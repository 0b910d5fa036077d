// .npy files: versions, types, byte orders, shapes, and what can be wrong with them.

#include <algorithm>

#include "fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::datasets::test;

namespace {

std::string npy(const std::string& header, const std::string& data, int major = 1) {
  std::string file = "\x93NUMPY";
  file += static_cast<char>(major);
  file += '\0';
  file +=
      major == 1 ? bytes(static_cast<std::uint16_t>(header.size())) : bytes(static_cast<std::uint32_t>(header.size()));
  return file + header + data;
}

std::string header(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

std::string big_endian(std::string data, std::size_t size) {
  for (std::size_t i = 0; i < data.size(); i += size) std::reverse(data.begin() + i, data.begin() + i + size);
  return data;
}

class NpyFile {
 public:
  explicit NpyFile(const std::string& contents) { write_bytes(path(), contents); }
  std::string path() const { return directory_.file("x.npy"); }

 private:
  support::TemporaryDirectory directory_;
};

void require_npy_refused(ErrorKind kind, std::initializer_list<std::string> parts, const std::string& contents) {
  CAPTURE(contents);
  const NpyFile file(contents);
  require_refused(kind, parts, [&] { read_matrix(file.path()); });
}

}  // namespace

TEST_CASE("npy: versions 1, 2 and 3") {
  for (const int version : {1, 2, 3}) {
    CAPTURE(version);
    const NpyFile file(npy(header("<f4", "(2, 1)"), bytes(1.5f, -2.0f), version));
    CHECK(read_matrix(file.path()).values == std::vector<float>{1.5f, -2.0f});
  }
}

TEST_CASE("npy: every type in both byte orders") {
  struct Case {
    const char* type;
    std::string data;  // the values 1 and 2
    Element element;
  };
  const Case cases[] = {
      {"f4", bytes(1.0f, 2.0f), Element::f32},
      {"f8", bytes(1.0, 2.0), Element::f64},
      {"f2", bytes(std::uint16_t{0x3c00}, std::uint16_t{0x4000}), Element::f16},
      {"i4", bytes(std::int32_t{1}, std::int32_t{2}), Element::i32},
      {"i8", bytes(std::int64_t{1}, std::int64_t{2}), Element::i64},
  };
  for (const Case& c : cases) {
    CAPTURE(c.type);
    const std::size_t size = c.data.size() / 2;
    const NpyFile little(npy(header(std::string("<") + c.type, "(1, 2)"), c.data));
    const NpyFile big(npy(header(std::string(">") + c.type, "(1, 2)"), big_endian(c.data, size)));
    for (const NpyFile* file : {&little, &big}) {
      CHECK(read_matrix(file->path()).values == std::vector<float>{1, 2});
      CHECK(open_reader(file->path())->element() == c.element);
    }
    if (c.type[0] == 'i') CHECK(read_id_matrix(big.path()) == std::vector<idx_t>{1, 2});
  }
  for (const char order : {'|', '<', '>'}) {
    CHECK(read_matrix(NpyFile(npy(header(std::string(1, order) + "u1", "(1, 2)"), "\x01\xff")).path()).values ==
          std::vector<float>{1, 255});
    CHECK(read_matrix(NpyFile(npy(header(std::string(1, order) + "i1", "(1, 2)"), "\x01\xff")).path()).values ==
          std::vector<float>{1, -1});
  }
}

TEST_CASE("npy: the header may be written in any way that Python reads") {
  for (const char* text : {"{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}",
                           "{ 'descr' : '<f4' , "
                           "'fortran_order' :False, 'shape': ( 2L , 3L ) }\n",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3,), }            \n"}) {
    const NpyFile file(npy(text, std::string(24, '\0')));
    const auto reader = open_reader(file.path());
    CHECK(reader->dim() == 3);
    CHECK(reader->rows() == 2);
  }
}

TEST_CASE("npy: one axis is a vector, or a list of ids") {
  const auto floats = open_reader(NpyFile(npy(header("<f4", "(3,)"), bytes(1.0f, 2.0f, 3.0f))).path());
  CHECK(floats->dim() == 3);
  CHECK(floats->rows() == 1);
  const NpyFile file(npy(header("<i8", "(3,)"), bytes(std::int64_t{7}, std::int64_t{8}, std::int64_t{9})));
  const auto ids = open_reader(file.path(), {.start = 1});
  CHECK(ids->dim() == 1);
  CHECK(ids->rows() == 2);
  CHECK(read_all_ids(*ids) == std::vector<idx_t>{8, 9});
}

TEST_CASE("npy: what numpy writes for two axes is what we write") {
  const support::TemporaryDirectory directory;
  const Matrix matrix{2, {1, 2, 3, 4, 5, 6}};
  write_matrix(directory.file("x.npy"), matrix, {.element = Element::u8});
  std::string text = "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }";
  text.resize(117, ' ');
  CHECK((read_bytes(directory.file("x.npy")) == npy(text + '\n', "\1\2\3\4\5\6")));
}

TEST_CASE("npy: damage is refused with its place") {
  constexpr auto kind = ErrorKind::corrupt;
  const std::string good = npy(header("<f4", "(2, 1)"), bytes(1.0f, 2.0f));
  require_npy_refused(kind, {"byte 0", "too few"}, "");
  require_npy_refused(kind, {"byte 0", "too few"}, good.substr(0, 7));
  require_npy_refused(kind, {"byte 0", "something else"}, "\x93NUMPX" + good.substr(6));
  require_npy_refused(kind, {"byte 6", "found 4.0"}, npy(header("<f4", "(2, 1)"), "", 4));
  require_npy_refused(kind, {"byte 6", "found 0.0"}, npy(header("<f4", "(2, 1)"), "", 0));
  require_npy_refused(kind, {"byte 8", "the end after 9"}, good.substr(0, 9));
  require_npy_refused(kind, {"byte 8", "the end after 40"}, good.substr(0, 40));
  require_npy_refused(kind, {"2 rows of 1 float32", "truncated"}, good.substr(0, good.size() - 1));
  require_npy_refused(kind, {"longer than it should be"}, good + "x");
  require_npy_refused(kind, {"at most 65536 bytes", "found 4294967295"},
                      std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12) + std::string(100, ' '));
  require_npy_refused(kind, {"18446744073709551615 times"}, npy(header("<f4", "(18446744073709551615, 2)"), ""));
  require_npy_refused(kind, {"4611686018427387904 times 4"}, npy(header("<f4", "(4611686018427387904, 1)"), ""));
  require_npy_refused(kind, {"1 to 65536", "found 0"}, npy(header("<f4", "(2, 0)"), ""));
  require_npy_refused(kind, {"1 to 65536", "found 65537"}, npy(header("<f4", "(1, 65537)"), ""));
  require_npy_refused(kind, {"1 to 65536", "found 9223372036854775807"},
                      npy(header("<f4", "(1, 18446744073709551615)"), ""));
}

TEST_CASE("npy: a header that is no dictionary is refused") {
  constexpr auto kind = ErrorKind::corrupt;
  const auto refuse = [](const std::string& expected, const std::string& text) {
    require_npy_refused(kind, {"npy header", expected}, npy(text, ""));
  };
  refuse("expected '{', found its end", "");
  refuse("expected '{', found '['", "[]");
  refuse("expected a quoted string", "{descr: '<f4'}");
  refuse("a string that is closed", "{'descr: 1");
  refuse("expected ':'", "{'descr' '<f4'}");
  refuse("expected a quoted string, found '1'", "{'descr': 1}");
  refuse("True or False", "{'fortran_order': 0}");
  refuse("expected '('", "{'shape': 3}");
  refuse("a whole number, found '-'", "{'shape': (-1, 2)}");
  refuse("a whole number, found 'x'", "{'shape': (x, 2)}");
  refuse("a number below 2^64", "{'shape': (18446744073709551616, 2)}");
  refuse("expected ')'", "{'shape': (1 2)}");
  refuse("one of the keys", "{'size': 3}");
  refuse("expected '}'", "{'shape': (1, 2) 'descr'");
  refuse("nothing after the dictionary", header("<f4", "(0, 2)") + "{}");
  refuse("descr is missing", "{'fortran_order': False, 'shape': (1, 2)}");
  refuse("fortran_order is missing", "{'descr': '<f4', 'shape': (1, 2)}");
  refuse("shape is missing", "{'descr': '<f4', 'fortran_order': False}");
  std::string axes = "{'shape': (";
  for (int i = 0; i < 65; ++i) axes += "1,";
  refuse("at most 64 axes", axes + ")}");
}

TEST_CASE("npy: arrays that are no rows of numbers are refused with the remedy") {
  constexpr auto kind = ErrorKind::misuse;
  require_npy_refused(kind, {"Fortran order", "ascontiguousarray"},
                      npy(header("<f4", "(2, 1)", "True"), bytes(1.0f, 2.0f)));
  require_npy_refused(kind, {"has 3 axes", "reshape"}, npy(header("<f4", "(1, 1, 1)"), bytes(1.0f)));
  require_npy_refused(kind, {"has 0 axes"}, npy(header("<f4", "()"), bytes(1.0f)));
  for (const char* type : {"<c8", "<u2", "|b1", "<U3", "|O", "f4", "=f4", "|f4", "", "<", "<f44"}) {
    require_npy_refused(kind, {std::string("element type '") + type + "'", "astype('float32')"},
                        npy(header(type, "(1, 1)"), bytes(1.0f)));
  }
  require_npy_refused(kind, {"named fields"},
                      npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", bytes(1.0f)));
}
