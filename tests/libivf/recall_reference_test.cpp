// Recall of fixed configurations against tests/golden/recall.json: too low is a fault, and so is too high, which says
// that the reference no longer describes the engine. To write it again after a change that moves recall on purpose:
//
//   build/tests/libivf/ivf_tests_libivf "[write-recall-reference]"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine_fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

namespace {

const std::string root = IVF_SOURCE_DIR;
const std::string reference_path = root + "/tests/golden/recall.json";

/// Half the width of a band: 200 queries x 10 neighbours, of which a handful may move with the starting rows of
/// k-means.
constexpr double tolerance = 0.01;

struct Source {
  const char* name;
  std::string base, queries;
};

const std::vector<Source>& sources() {
  static const std::vector<Source> all{
      {"mnist-sample", root + "/datasets/sample/mnist-sample.h5", root + "/datasets/sample/mnist-sample.h5"},
      {"gaussian", "gaussian:n=20000,d=24,seed=1", "gaussian:n=200,d=24,seed=2"},
      {"clustered", "clustered:n=20000,d=24,seed=1", "clustered:n=200,d=24,seed=2"},
  };
  return all;
}

struct Measurement {
  std::string configuration;
  double recall = 0;
  bool exact = false;  ///< Every list was probed.
};

/// recall@10 for every data set, metric, nlist and nprobe.
std::vector<Measurement> measure() {
  std::vector<Measurement> measured;
  for (const Source& source : sources()) {
    const Matrix base = read_matrix(source.base, datasets::Role::base, 20000);
    const Matrix queries = read_matrix(source.queries, datasets::Role::queries, 200);
    for (const Metric metric : {Metric::l2, Metric::ip, Metric::cosine}) {
      for (const std::size_t nlist : {16, 64}) {
        IndexIVFFlat index(base.d, nlist, metric);
        index.train(base.view());
        index.add(base.view());
        SearchParams params;
        const auto truth = index.search_exact(queries.view(), params);
        for (const std::size_t nprobe : {std::size_t{1}, std::size_t{4}, nlist / 2, nlist}) {
          params.nprobe = nprobe;
          const auto found = index.search(queries.view(), params);
          measured.push_back(
              {fmt::format("{} {} nlist={} nprobe={} k=10", source.name, metric_name(metric), nlist, nprobe),
               recall_at_k(found.ids, 10, truth.ids, 10, found.nq, 10), nprobe == nlist});
        }
      }
    }
  }
  return measured;
}

}  // namespace

TEST_CASE("recall lies within the bands of the reference") {
  std::ifstream file(reference_path);
  REQUIRE(file.good());
  const auto reference = nlohmann::json::parse(file);
  const auto measured = measure();
  CHECK(reference.at("recall").size() == measured.size());
  for (const auto& [name, recall, exact] : measured) {
    INFO(name << ": recall " << recall);
    REQUIRE(reference.at("recall").contains(name));
    const auto& band = reference.at("recall").at(name);
    if (exact) CHECK(recall == 1);
    CHECK(recall >= band.at(0).get<double>());
    CHECK(recall <= band.at(1).get<double>());
  }
}

// Not a test by itself: the command that makes the reference.
TEST_CASE("writes the reference of recall", "[.][write-recall-reference]") {
  std::string bands;
  for (const auto& [name, recall, exact] : measure()) {
    const double width = exact ? 0 : tolerance;
    bands += fmt::format("{}    \"{}\": [{:.4f}, {:.4f}]", bands.empty() ? "" : ",\n", name,
                         std::max(recall - width, 0.0), std::min(recall + width, 1.0));
  }
  std::ofstream file(reference_path);
  file << "{\n  \"about\": \"Lowest and highest recall@10 per configuration; ivf_tests_libivf [write-recall-reference] "
          "writes it.\",\n  \"recall\": {\n"
       << bands << "\n  }\n}\n";
  REQUIRE(file.good());
}
