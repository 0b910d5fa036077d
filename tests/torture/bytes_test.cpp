// Every byte of small indexes is flipped, and they are cut at every length: what is then loaded, verified and
// searched is refused or answers exactly as before, and takes no more memory than the file's size and a constant.
//
// The container by itself is tested in the same way in tests/format/every_byte_test.cpp.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "ivf/index.hpp"
#include "support/address_space_limit.h"
#include "support/catch.hpp"
#include "support/shapes.h"
#include "support/temporary_directory.h"

using namespace ivf;

namespace {

/// What a load, a verification and a search may map beyond twice the file (mapped as it is, and decoded).
constexpr std::uint64_t kConstant = std::uint64_t{16} << 20;

/// Every so manieth byte; IVF_TEST_EVERY=1 takes them all.
std::size_t stride() {
  const char* every = std::getenv("IVF_TEST_EVERY");
  return every != nullptr ? static_cast<std::size_t>(std::atoi(every)) : 11;
}

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

RunOptions one_thread() {
  RunOptions options;
  options.threads = 1;
  return options;
}

/// A file of each kind, as the engine writes it.
void write_index(const std::string& kind, const std::string& path) {
  constexpr std::size_t kDim = 8;
  const bool compress = kind == "compressed";
  shapes::Random random(3);
  // Whole numbers have no lo plane, and compress.
  const auto shape = compress ? shapes::Kind::integers : shapes::Kind::normal;
  const std::vector<float> rows = shapes::matrix(shape, 400, kDim, random);
  const MatrixView view{rows.data(), 400, kDim};
  SaveOptions options;
  options.compress = compress;
  if (kind == "flat") {
    IndexFlat index(kDim, Metric::ip);
    index.add(view.slice(0, 60));
    index.save(path, options);
    return;
  }
  IndexIVFFlat index(kDim, 4, kind == "two segments" ? Metric::cosine : Metric::l2);
  index.train(view, {});
  index.add(view.slice(0, compress ? 400 : 60));
  index.save(path, options);
  if (kind != "two segments" && kind != "removed") return;
  FileAppender appender(path);
  appender.append(view.slice(60, 20));
  appender.commit();
  if (kind != "removed") return;
  appender.remove(IdSet(std::vector<IdRange>{{5, 20}, {70, 70}}));
  appender.commit();
}

std::vector<float> queries(std::size_t dim) {
  std::vector<float> values(3 * dim);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7) - 3;
  return values;
}

SearchResult search(const Index& index) {
  SearchParams params;
  params.threads = 1;
  params.k = 4;
  params.nprobe = 2;
  const auto values = queries(index.dim());
  return index.search({values.data(), 3, index.dim()}, params);
}

struct Outcome {
  bool loads = false;
  bool sound = false;
  bool same = false;  ///< The search answers as that of the undamaged file.
};

Outcome outcome_of(const std::string& path, std::uint64_t bytes, const SearchResult& expected) {
  const support::AddressSpaceLimit limit(2 * bytes + kConstant);
  Outcome outcome;
  const auto corrupt_or = [](const auto& action) {
    try {
      action();
      return true;
    } catch (const Error& error) {
      INFO("message: " << error.what());
      REQUIRE(error.kind() == ErrorKind::corrupt);
      return false;
    }
  };
  outcome.sound = corrupt_or([&] { verify_index(path, true, one_thread()); });
  outcome.loads = corrupt_or([&] {
    const SearchResult found = search(*load_index(path, one_thread()));
    outcome.same = found.ids == expected.ids && found.distances == expected.distances;
  });
  return outcome;
}

/// An index on disk, its bytes, and what a search in it finds.
struct Sound {
  explicit Sound(const std::string& name) {
    write_index(name, path);
    bytes = read_bytes(path);
    expected = search(*load_index(path));
  }
  Outcome outcome() const { return outcome_of(path, bytes.size(), expected); }

  support::TemporaryDirectory directory;
  std::string path = directory.file("x.ivf");
  std::string bytes;
  SearchResult expected;
};

}  // namespace

TEST_CASE("a flipped byte of an index is refused or harmless to its users, in bounded memory") {
  const std::string name = GENERATE("flat", "one segment", "two segments", "compressed", "removed");
  const Sound index(name);
  std::fstream file(index.path, std::ios::binary | std::ios::in | std::ios::out);
  std::size_t refused = 0, unnoticed = 0, flips = 0;
  for (std::size_t i = 0; i < index.bytes.size(); i += stride()) {
    for (const int mask : {0x01, 0x80, 0xff}) {
      INFO(name << ": byte " << i << ", mask " << mask);
      file.seekp(static_cast<std::streamoff>(i)).put(static_cast<char>(index.bytes[i] ^ mask)).flush();
      const Outcome outcome = index.outcome();
      // What verifies is as it was; what only loads may hold other values, and a verification says so.
      if (outcome.sound) REQUIRE((outcome.loads && outcome.same));
      refused += outcome.loads ? 0 : 1;
      unnoticed += outcome.sound ? 1 : 0;
      ++flips;
    }
    file.seekp(static_cast<std::streamoff>(i)).put(index.bytes[i]).flush();
  }
  WARN(name << ": " << flips << " flips, " << refused << " refused at once, " << flips - refused - unnoticed
            << " by verification, " << unnoticed << " without effect");
  REQUIRE(index.outcome().sound);
  CHECK(refused > 0);
}

TEST_CASE("an index that is cut anywhere is refused, in bounded memory") {
  const std::string name = GENERATE("flat", "one segment", "two segments", "compressed", "removed");
  const Sound index(name);
  std::size_t cuts = 0;
  for (std::size_t length = index.bytes.size() - 1; length < index.bytes.size(); length -= stride()) {
    INFO(name << ": length " << length);
    std::filesystem::resize_file(index.path, length);
    const Outcome outcome = index.outcome();
    REQUIRE_FALSE(outcome.loads);
    REQUIRE_FALSE(outcome.sound);
    ++cuts;
  }
  WARN(name << ": " << cuts << " lengths refused");
}
