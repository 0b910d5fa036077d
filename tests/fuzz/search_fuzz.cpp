// Search of any rows with any queries: every instruction set, in any mode, against the scalar oracle, bit for bit.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>

#include "fuzz.h"
#include "libivf/engine_fixture.h"

using namespace ivf;
using namespace ivf::fuzz;
using namespace ivf::support;

namespace {

/// The values of a scene: the input's own bits while there are any, then a pattern that depends on the input.
class Values {
 public:
  Values(Choices& input, std::uint64_t seed) : input_(input), random_(seed), kinds_(input.byte() % 4) {}

  std::vector<float> matrix(std::size_t n, std::size_t d) {
    if (kinds_ == 3) return shapes::matrix(random_.pick(shapes::all_kinds()), n, d, random_);
    std::vector<float> values(n * d);
    std::generate(values.begin(), values.end(), [&] { return value(); });
    return values;
  }

 private:
  float value() {
    if (input_.rest().empty()) return static_cast<float>(random_.below(5)) - 2;
    if (kinds_ == 0) return static_cast<float>(static_cast<std::int8_t>(input_.byte()));
    const auto any = std::bit_cast<float>(input_.u32());
    if (kinds_ == 1) return std::fabs(any) < 3.38e38f ? any : 1.0f;
    return std::isfinite(any) ? std::remainder(any, 4.0f) : 0.5f;
  }

  Choices& input_;
  shapes::Random random_;
  unsigned kinds_;
};

/// A place where every query's answer is known.
struct Question {
  Scene scene;
  SearchParams params;
  std::vector<std::vector<oracle::Hit>> probed, exact, within;
  float radius = 0;
  SearchMode mode = SearchMode::automatic;
  unsigned threads = 1;
};

Question question_of(Choices& input) {
  Question question;
  Scene& scene = question.scene;
  scene.metric = static_cast<Metric>(input.below(3));
  scene.d = 1 + input.byte() % 80;
  scene.nlist = 1 + input.byte() % 9;
  const std::size_t n = input.byte() % 150;
  const std::size_t nq = 1 + input.byte() % 20;
  question.params.k = 1 + input.byte() % 40;
  question.params.nprobe = 1 + input.byte() % 10;
  question.params.max_codes = input.flip() ? 1 + input.byte() : 0;
  question.params.max_memory = input.flip() ? 1 + input.u32() % 100000 : 0;
  const bool scattered = input.flip();
  question.mode = static_cast<SearchMode>(input.byte() % 3);
  question.threads = 1 + input.byte() % 16 / 15;
  Values values(input, input.rest().size());
  scene.centroids = values.matrix(scene.nlist, scene.d);
  scene.queries = values.matrix(nq, scene.d);
  scene.rows = values.matrix(n, scene.d);
  for (std::size_t i = 0; scattered && i < n; ++i) {
    const auto id = std::bit_cast<std::int64_t>((i * 0x9e3779b97f4a7c15U) >> (i % 3 * 31));
    scene.ids.push_back(id == -1 ? 0 : id);
  }
  scene.prepare();

  const oracle::InvertedFile lists(scene.metric, scene.stored(), scene.stored_centroids());
  const auto all = oracle::everything(n);
  for (std::size_t q = 0; q < nq; ++q) {
    const float* query = scene.stored_query(q);
    const auto candidates = lists.candidates(query, question.params.nprobe, question.params.max_codes);
    question.probed.push_back(oracle::topk(scene.metric, query, scene.stored(), candidates, question.params.k));
    question.exact.push_back(oracle::topk(scene.metric, query, scene.stored(), all, question.params.k));
    // The value of a hit, so that rows lie exactly on the radius; an infinite one is no radius.
    if (q == 0 && question.probed[0][0].id != -1) {
      question.radius = question.probed[0][question.probed[0].size() / 2].value;
      if (!std::isfinite(question.radius)) question.radius = 1;
    }
    question.within.push_back(oracle::within(scene.metric, query, scene.stored(), candidates, question.radius));
  }
  return question;
}

/// In two pieces, on this thread: starting others takes longer than the search.
void add_rows(const Scene& scene, Index& index) {
  RunOptions options;
  options.threads = 1;
  for (const std::size_t piece : {0, 1}) {
    const std::size_t first = piece * scene.n() / 2, count = (piece + 1) * scene.n() / 2 - first;
    const MatrixView rows = scene.row_view().slice(first, count);
    if (scene.ids.empty()) {
      index.add(rows, options);
    } else {
      index.add_with_ids(rows, std::span(scene.ids).subspan(first, count), options);
    }
  }
}

template <class Result>
void compare(const Result& result, const std::vector<std::vector<oracle::Hit>>& expected, const std::string& how) {
  for (std::size_t q = 0; q < expected.size(); ++q) {
    const std::string wrong = difference(result, q, expected[q]);
    if (wrong.empty()) continue;
    std::fprintf(stderr, "fuzz: %s: query %zu: %s\n", how.c_str(), q, wrong.c_str());
    require(false, "the results are those of the oracle");
  }
}

}  // namespace

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  Choices input(data, size);
  Question question = question_of(input);
  const Scene& scene = question.scene;
  for (const std::string& level : levels()) {
    const ForcedLevel forced(level);
    IndexIVFFlat ivf = scene.empty_ivf();
    IndexFlat flat(scene.d, scene.metric);
    add_rows(scene, ivf);
    add_rows(scene, flat);
    SearchParams params = question.params;
    params.mode = question.mode;
    params.threads = question.threads;
    const std::string how = level + ", mode " + std::to_string(static_cast<int>(params.mode));
    compare(ivf.search(scene.query_view(), params), question.probed, how);
    compare(ivf.range_search(scene.query_view(), question.radius, params), question.within, how + ", radius");
    compare(ivf.search_exact(scene.query_view(), params), question.exact, how + ", exact");
    params.max_codes = 0;
    compare(flat.search(scene.query_view(), params), question.exact, how + ", flat");
  }
  return 0;
}
