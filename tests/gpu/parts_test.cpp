// Parts of a corpus: each is searched by itself, and the merged results are those of the whole.

#include <algorithm>
#include <numeric>

#include "backends/gpu/merge.h"
#include "backends/gpu/parted.h"
#include "gpu/gpu_fixture.h"
#include "gpu/row_sets.h"
#include "support/catch.hpp"

namespace {

using namespace ivf;
using namespace ivf::support;
using detail::gpu::MergedResults;
using detail::gpu::Part;
using detail::gpu::PartedCorpus;
using detail::gpu::ProbeLists;
using detail::gpu::RangeOptions;
using detail::gpu::SearchOptions;
using shapes::Kind;

constexpr std::size_t k = 9, nlist = 8, nprobe = 4, nq = 11;

/// Rows some of which were removed, some hidden, with queries, and what the oracle says of them.
class Case {
 public:
  Case(Metric metric, Kind kind, std::size_t n, std::size_t d, std::size_t segments, std::uint64_t max_codes,
       std::uint64_t seed)
      : metric_(metric), n_(n), d_(d), max_codes_(max_codes), random_(seed), removed_(n), hidden_(n) {
    std::vector<std::int32_t> list_of(n);
    // The last list is empty, and the first has most rows.
    for (auto& list : list_of) list = random_.below(2) == 0 ? 0 : static_cast<std::int32_t>(random_.below(nlist - 1));
    rows_ = std::make_unique<ListedRows>(metric, shapes::matrix(kind, n, d, random_), d, std::vector<idx_t>(), list_of,
                                         nlist, segments);
    for (std::size_t i = 0; i < n; ++i) {
      removed_[i] = random_.below(5) == 0;
      hidden_[i] = removed_[i] || random_.below(4) == 0;
    }
    removed_sets_ = std::make_unique<RowSets>(*rows_, n, segments, removed_);
    hidden_sets_ = std::make_unique<RowSets>(*rows_, n, segments, hidden_);
    corpus_ = rows_->corpus();
    for (std::size_t s = 0; s < segments; ++s) corpus_.segments[s].removed = removed_sets_->views()[s];
    queries_ = shapes::matrix(kind, nq, d, random_);
    for (std::size_t q = 0; q < nq; ++q) {
      std::vector<std::int32_t> lists(nlist);
      std::iota(lists.begin(), lists.end(), 0);
      for (std::size_t r = 0; r < nprobe; ++r) {
        std::swap(lists[r], lists[r + random_.below(nlist - r)]);
        probes_.push_back(random_.below(12) == 0 ? -1 : lists[r]);
      }
    }
  }

  const detail::Corpus& corpus() const { return corpus_; }
  detail::gpu::Rows queries() const { return {queries_.data(), nq, 0, false}; }
  ProbeLists probes(bool whole) const { return whole ? ProbeLists{} : ProbeLists{probes_.data(), nprobe, false}; }
  std::vector<std::span<const std::uint64_t>> hidden() const { return hidden_sets_->views(); }
  std::uint64_t kept() const { return static_cast<std::uint64_t>(std::count(removed_.begin(), removed_.end(), false)); }

  SearchOptions options(SearchMode mode) const {
    SearchOptions options;
    options.k = k;
    options.max_codes = max_codes_;
    options.mode = mode;
    options.tuning.first_rows = 64;
    options.tuning.round_growth = 3;
    return options;
  }
  std::vector<std::size_t> candidates(std::size_t q, bool whole, bool filtered) const {
    std::vector<std::size_t> found;
    std::uint64_t count = 0;
    for (const std::size_t i : whole ? rows_->everything(0) : rows_->candidates(&probes_[q * nprobe], nprobe, 0)) {
      if (removed_[i]) continue;
      if (max_codes_ != 0 && count++ == max_codes_) break;
      if (!filtered || !hidden_[i]) found.push_back(i);
    }
    return found;
  }
  /// "" when these are the k best of every query.
  std::string difference_of(const std::vector<float>& values, const std::vector<std::int64_t>& ids, bool whole,
                            bool filtered) const {
    Found found(nq, k);
    found.values = values;
    found.ids = ids;
    for (std::size_t q = 0; q < nq; ++q) {
      const std::string text = difference(
          found, q, oracle::topk(metric_, &queries_[q * d_], rows_->rows(), candidates(q, whole, filtered), k));
      if (!text.empty()) return text;
    }
    return "";
  }
  std::vector<oracle::Hit> within(std::size_t q, float radius, bool whole, bool filtered) const {
    return oracle::within(metric_, &queries_[q * d_], rows_->rows(), candidates(q, whole, filtered), radius);
  }
  /// The value of the n-th best row of the first query.
  float value_of(std::size_t n) const {
    return oracle::topk(metric_, queries_.data(), rows_->rows(), candidates(0, true, false), n).back().value;
  }
  std::size_t rows() const { return n_; }

 private:
  Metric metric_;
  std::size_t n_, d_;
  std::uint64_t max_codes_;
  shapes::Random random_;
  std::vector<bool> removed_, hidden_;
  std::unique_ptr<ListedRows> rows_;
  std::unique_ptr<RowSets> removed_sets_, hidden_sets_;
  detail::Corpus corpus_;
  std::vector<float> queries_;
  std::vector<std::int32_t> probes_;
};

std::vector<std::unique_ptr<Case>> cases() {
  std::vector<std::unique_ptr<Case>> all;
  std::uint64_t seed = 600;
  for (const Metric metric : {Metric::l2, Metric::ip}) {
    all.push_back(std::make_unique<Case>(metric, Kind::normal, 400, 20, 2, 0, ++seed));
    all.push_back(std::make_unique<Case>(metric, Kind::duplicates, 300, 7, 3, 61, ++seed));
    all.push_back(std::make_unique<Case>(metric, Kind::huge, 260, 33, 1, 150, ++seed));
    all.push_back(std::make_unique<Case>(metric, Kind::tiny, 5, 3, 2, 2, ++seed));
  }
  return all;
}

/// Memory for parts of about so many rows.
std::uint64_t memory_for(const Case& one, std::uint64_t rows) {
  return 2 * detail::gpu::Engine::bytes_needed(one.corpus(), {1, 1 + rows}) + 4096;
}

}  // namespace

TEST_CASE("parts of a corpus on a GPU give the results of the whole", "[gpu]") {
  if (!have_device()) return;
  for (const auto& one : cases()) {
    const std::uint64_t kept = one->kept();
    for (const std::vector<std::uint64_t>& cuts : std::vector<std::vector<std::uint64_t>>{
             {0, kept / 3, kept / 3 + 1, kept / 2, kept}, {0, 0, kept}, {0, kept, kept + 7}}) {
      std::vector<std::unique_ptr<detail::gpu::DeviceCorpus>> parts, filtered;
      std::uint64_t rows = 0;
      for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        const Part part{cuts[i], cuts[i + 1]};
        parts.push_back(engine().load(one->corpus(), nullptr, part));
        REQUIRE(parts.back()->bytes() == detail::gpu::Engine::bytes_needed(one->corpus(), part));
        filtered.push_back(engine().hide(*parts.back(), one->hidden(), nullptr));
        rows += parts.back()->rows();
      }
      REQUIRE(rows == kept);
      for (const bool whole : {false, true}) {
        for (const bool filter : {false, true}) {
          for (const SearchMode mode : {SearchMode::matrix, SearchMode::csr}) {
            INFO("rows " << one->rows() << " parts " << cuts.size() - 1 << " whole " << whole << " filter " << filter
                         << " mode " << static_cast<int>(mode));
            MergedResults merged(nq, k, one->corpus().inner_product);
            std::vector<float> values(nq * k);
            std::vector<std::int64_t> ids(nq * k);
            for (const auto& part : filter ? filtered : parts) {
              engine().topk(*part, one->queries(), one->probes(whole), one->options(mode),
                            {values.data(), ids.data(), nullptr, false}, nullptr);
              merged.add(values.data(), ids.data(), 1);
            }
            REQUIRE(one->difference_of(merged.values(), merged.ids(), whole, filter) == "");
          }
        }
      }
    }
  }
}

TEST_CASE("a corpus that is searched part by part on a GPU gives the results of the whole", "[gpu]") {
  if (!have_device()) return;
  for (const auto& one : cases()) {
    for (const std::uint64_t rows : {40u, 1000u}) {
      PartedCorpus parted(engine(), one->corpus(), memory_for(*one, rows), 1);
      for (const bool whole : {false, true}) {
        for (const bool filter : {false, true}) {
          INFO("rows " << one->rows() << " of a part " << rows << " whole " << whole << " filter " << filter);
          const auto sets = one->hidden();
          const detail::gpu::HiddenRows hidden = filter ? detail::gpu::HiddenRows(sets) : detail::gpu::HiddenRows();
          std::vector<float> values(nq * k);
          std::vector<std::int64_t> ids(nq * k);
          detail::gpu::Report report;
          SearchOptions options = one->options(SearchMode::automatic);
          options.report = &report;
          parted.search(nullptr, one->queries(), nprobe, one->probes(whole), hidden, options,
                        {values.data(), ids.data(), nullptr, false}, nullptr);
          REQUIRE(one->difference_of(values, ids, whole, filter) == "");
          if (rows == 1000) REQUIRE(parted.parts() == 1);
          if (rows == 40 && one->rows() > 100 && whole && options.max_codes == 0) REQUIRE(parted.parts() > 3);
          std::uint64_t looked_at = 0;
          for (std::size_t q = 0; q < nq; ++q) looked_at += one->candidates(q, whole, false).size();
          REQUIRE(report.rows_scanned == looked_at);

          RangeOptions range;
          range.radius = one->value_of(std::min<std::size_t>(one->rows() / 4 + 1, 30));
          range.max_codes = options.max_codes;
          const auto found = parted.range(nullptr, one->queries(), nprobe, one->probes(whole), hidden, range, nullptr);
          for (std::size_t q = 0; q < nq; ++q) {
            const auto expected = one->within(q, range.radius, whole, filter);
            REQUIRE(found.hits[q].size() == expected.size());
            for (std::size_t i = 0; i < expected.size(); ++i)
              REQUIRE((found.hits[q][i].first == expected[i].value && found.hits[q][i].second == expected[i].id));
          }
        }
      }
    }
  }
}

TEST_CASE("a part of a corpus that is searched part by part on a GPU is searched alone", "[gpu]") {
  if (!have_device()) return;
  for (const auto& one : cases()) {
    const std::uint64_t middle = one->kept() / 2 + 1;
    PartedCorpus front(engine(), one->corpus(), memory_for(*one, 40), 1, {0, middle});
    PartedCorpus back(engine(), one->corpus(), memory_for(*one, 40), 1, {middle, one->kept()});
    for (const bool whole : {false, true}) {
      INFO("rows " << one->rows() << " whole " << whole);
      MergedResults merged(nq, k, one->corpus().inner_product);
      std::vector<float> values(nq * k);
      std::vector<std::int64_t> ids(nq * k);
      for (PartedCorpus* part : {&front, &back}) {
        part->search(nullptr, one->queries(), nprobe, one->probes(whole), {}, one->options(SearchMode::csr),
                     {values.data(), ids.data(), nullptr, false}, nullptr);
        merged.add(values.data(), ids.data(), 1);
      }
      REQUIRE(one->difference_of(merged.values(), merged.ids(), whole, false) == "");
    }
  }
}

TEST_CASE("lists that nobody looks at are not copied to a GPU", "[gpu]") {
  if (!have_device()) return;
  shapes::Random random(650);
  const std::size_t n = 900, d = 16, lists = 30;
  const std::vector<float> values = shapes::matrix(Kind::normal, n, d, random);
  const std::vector<float> centres = shapes::matrix(Kind::normal, lists, d, random);
  const std::vector<float> queries = shapes::matrix(Kind::normal, 2, d, random);
  const auto list_of = oracle::assign(Metric::l2, {values, {}, d}, {centres, {}, d});
  const ListedRows rows(Metric::l2, values, d, {}, list_of, lists, 1);
  const ListedRows centroids(Metric::l2, centres, d, {}, std::vector<std::int32_t>(lists, 0), 1, 1);
  const oracle::InvertedFile file(Metric::l2, {values, {}, d}, {centres, {}, d});
  PartedCorpus parted(engine(), rows.corpus(), 2 * detail::gpu::Engine::bytes_needed(rows.corpus(), {1, 200}), 1);
  const auto check = [&](std::size_t wanted, std::uint64_t max_codes) {
    Found found(2, k);
    SearchOptions options;
    options.k = k;
    options.max_codes = max_codes;
    parted.search(&centroids.device(), {queries.data(), 2, 0, false}, wanted, {}, {}, options, found.results(),
                  nullptr);
    for (std::size_t q = 0; q < 2; ++q) {
      const auto candidates = file.candidates(&queries[q * d], std::min(wanted, lists), max_codes);
      REQUIRE(difference(found, q, oracle::topk(Metric::l2, &queries[q * d], {values, {}, d}, candidates, k)) == "");
    }
  };
  check(1, 0);
  const std::size_t parts_of_few = parted.parts();
  check(lists, 0);
  REQUIRE(parted.parts() > parts_of_few + 2);
  check(lists, 400);
  check(7, 60);
}

TEST_CASE("a limit of memory that holds no rows is refused", "[gpu]") {
  if (!have_device()) return;
  const ListedRows rows(Metric::l2, {1, 2, 3, 4}, 2, {}, {0, 0}, 1, 1);
  std::string message;
  try {
    PartedCorpus(engine(), rows.corpus(), 1000, 1);
  } catch (const Error& error) {
    message = error.what();
  }
  REQUIRE(message.find("bytes of device memory for parts of 2 rows, found a limit of 1000; raise it") !=
          std::string::npos);
}
