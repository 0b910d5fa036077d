#include "engine_fixture.h"
#include "support/catch.hpp"

using namespace ivf;
using namespace ivf::support;

TEST_CASE("recall counts the true neighbours among the first k results") {
  const std::vector<idx_t> truth{1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(recall_at_k(truth, 4, truth, 4, 2, 4) == 1);
  CHECK(recall_at_k(std::vector<idx_t>{4, 3, 2, 1, 8, 7, 6, 5}, 4, truth, 4, 2, 4) == 1);
  CHECK(recall_at_k(std::vector<idx_t>{4, 3, 2, 1, 8, 7, 6, 5}, 4, truth, 4, 2, 2) == 0);
  CHECK(recall_at_k(std::vector<idx_t>{1, 9, 9, 9, 5, 6, 9, 9}, 4, truth, 4, 2, 4) == 3.0 / 8);
  CHECK(recall_at_k(std::vector<idx_t>{1, 9, 5, 6}, 2, truth, 4, 2, 2) == 0.75);
}

TEST_CASE("recall ignores missing results and counts shared ids as often as both sides have them") {
  CHECK(recall_at_k(std::vector<idx_t>{1, -1}, 2, std::vector<idx_t>{1, -1}, 2, 1, 2) == 1);
  CHECK(recall_at_k(std::vector<idx_t>{-1, -1}, 2, std::vector<idx_t>{-1, -1}, 2, 1, 2) == 1);
  CHECK(recall_at_k(std::vector<idx_t>{-1, -1}, 2, std::vector<idx_t>{1, -1}, 2, 1, 2) == 0);
  CHECK(recall_at_k(std::vector<idx_t>{7, 7, 3}, 3, std::vector<idx_t>{7, 7, 7}, 3, 1, 3) == 2.0 / 3);
  CHECK(recall_at_k({}, 5, {}, 5, 0, 5) == 1);
}

TEST_CASE("recall refuses matrices that do not fit") {
  const std::vector<idx_t> ids(6), truth(6);
  CHECK(error_of([&] { recall_at_k(ids, 3, truth, 3, 2, 4); }) ==
        "misuse: expected at least 4 results a query for recall@4, found 3");
  CHECK(error_of([&] { recall_at_k(ids, 3, truth, 2, 2, 3); }) ==
        "misuse: expected at least 3 true neighbours a query for recall@3, found 2");
  CHECK(error_of([&] { recall_at_k(ids, 3, truth, 3, 3, 3); }) == "misuse: expected 3 x 3 ids of results, found 6 ids");
  CHECK(error_of([&] { recall_at_k(ids, 3, truth, 3, 2, 0); }) ==
        "misuse: expected at least 1 results a query for recall@0, found 3");
}
