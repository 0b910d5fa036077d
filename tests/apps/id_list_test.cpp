// Ids as users name them: lists, ranges, text, matrices; and what is refused.

#include "id_list.h"

#include <fstream>
#include <string>
#include <vector>

#include "ivf/datasets/datasets.hpp"
#include "ivf/error.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.h"

using ivf::idx_t;
using ivf::cli::read_id_list;
using Ids = std::vector<idx_t>;

namespace {

constexpr std::uint64_t plenty = 1000;

/// The message of the error that reading `spec` must raise, after its kind's number.
std::string refusal(const std::string& spec, std::uint64_t most = plenty) {
  try {
    read_id_list(spec, most);
  } catch (const ivf::Error& error) {
    return std::to_string(static_cast<int>(error.kind())) + " " + error.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("ids and ranges are read in the order in which they are named") {
  CHECK(read_id_list("5", plenty) == Ids{5});
  CHECK(read_id_list("5,9,12", plenty) == Ids{5, 9, 12});
  CHECK(read_id_list("10-13", plenty) == Ids{10, 11, 12, 13});
  CHECK(read_id_list("7-8, 2,7-7,", plenty) == Ids{7, 8, 2, 7});
  CHECK(read_id_list("-5--3", plenty) == Ids{-5, -4, -3});
  CHECK(read_id_list("9223372036854775806-9223372036854775807", plenty) ==
        Ids{9223372036854775806, 9223372036854775807});
  CHECK(read_id_list(",", plenty).empty());
}

TEST_CASE("what is no list of ids is refused") {
  CHECK(contains(refusal(""), "2 --ids: names no ids"));
  CHECK(contains(refusal("@"), "2 --ids: names no ids"));
  CHECK(contains(refusal("5x"), "2 --ids: '5x' is neither a list of ids (5, 5,9,12 or 10-20) nor a file"));
  CHECK(contains(refusal("@5x"), "1 5x: cannot be opened"));
  CHECK(contains(refusal("1-2-3"), "2 --ids: '1-2-3' is not an id or a range"));
  CHECK(contains(refusal("4-"), "2 --ids: '4-' is not an id or a range"));
  CHECK(contains(refusal("1 2"), "2 --ids: '1 2' is not an id or a range"));
  CHECK(contains(refusal("20-10"), "2 --ids: '20-10' is a range that ends before it begins"));
  CHECK(contains(refusal("-1"), "2 --ids: '-1' holds -1"));
  CHECK(contains(refusal("-3-3"), "2 --ids: '-3-3' holds -1"));
  CHECK(contains(refusal("9223372036854775808"), "'9223372036854775808' is not an id"));
}

TEST_CASE("a list is bounded before it is expanded") {
  CHECK(read_id_list("0-2,5", 4) == Ids{0, 1, 2, 5});
  CHECK(contains(refusal("0-2,5,6", 4), "2 --ids: names more than 4 ids"));
  CHECK(contains(refusal("0-9223372036854775807"), "names more than 1000 ids"));
  CHECK(contains(refusal("-9223372036854775808--2"), "names more than 1000 ids"));
}

TEST_CASE("ids come from text files, one id or range a line") {
  const ivf::support::TemporaryDirectory directory;
  const std::string path = (directory.path() / "ids").string();
  const auto write = [&](const std::string& text) { std::ofstream(path, std::ios::binary) << text; };
  write("3\r\n\n 10-12 \n4,5\n7");
  CHECK(read_id_list(path, plenty) == Ids{3, 10, 11, 12, 4, 5, 7});
  CHECK(read_id_list("@" + path, plenty) == Ids{3, 10, 11, 12, 4, 5, 7});
  write("");
  CHECK(read_id_list(path, plenty).empty());
  write("1\n2\nthree\n");
  CHECK(contains(refusal(path), "3 " + path + ": line 3: 'three' is not an id"));
  write("1,-1\n");
  CHECK(contains(refusal(path), "3 " + path + ": line 1: '-1' holds -1"));
  write(std::string(100000, '1'));
  CHECK(contains(refusal(path), "3 " + path + ": line 1: '" + std::string(64, '1') + "...' is not an id"));
  // Longer than what is read at once.
  std::string many;
  Ids expected;
  for (idx_t id = 0; id < 30000; ++id) {
    many += std::to_string(id) + "\n";
    expected.push_back(id);
  }
  write(many);
  CHECK(read_id_list(path, 30000) == expected);
}

TEST_CASE("ids come from matrices of integers") {
  using ivf::datasets::Element;
  const ivf::support::TemporaryDirectory directory;
  const auto write = [&](const std::string& name, Element element, std::size_t dim, const Ids& ids) {
    const std::string path = (directory.path() / name).string();
    ivf::datasets::WriteOptions options;
    options.dim = dim;
    options.element = element;
    const auto writer = ivf::datasets::open_writer(path, options);
    writer->write_ids(ids.data(), ids.size() / dim);
    writer->finish();
    return path;
  };
  const Ids ids{4, 2, 9, 2};
  CHECK(read_id_list(write("a.npy", Element::i64, 1, ids), plenty) == ids);
  CHECK(read_id_list(write("a.ivecs", Element::i32, 2, ids), plenty) == ids);
  CHECK(read_id_list(write("a.ibin", Element::i32, 4, ids), plenty) == ids);
  CHECK(read_id_list(write("a.h5:ids", Element::i64, 1, ids), plenty) == ids);
  CHECK(contains(refusal(write("b.npy", Element::i32, 2, {1, 2, 3, -1})), "row 1, column 1: -1 marks missing"));
  const std::string floats = (directory.path() / "c.fvecs").string();
  ivf::datasets::WriteOptions options;
  options.dim = 1;
  const auto writer = ivf::datasets::open_writer(floats, options);
  const float value = 1;
  writer->write(&value, 1);
  writer->finish();
  CHECK(contains(refusal(floats), "2 " + floats + ": ids must be integers"));
}
