#include "filter_options.h"

#include "message.h"

namespace ivf::cli {

void FilterOptions::define(OptionSet& options) {
  // Given but empty is not the same as not given: an unset variable of a script must not allow everything.
  const auto text = [&options](const char* name, std::optional<std::string>& target, const char* help) {
    options.value(name, "IDS|FILE", help, [&target](std::string_view option, std::string_view value) {
      if (value.empty()) misuse("{}: names no ids; write 5, 5,9,12, 10-20 or a file", option);
      target = value;
    });
  };
  text("--filter", allowed,
       "Find rows with these ids only: ids and ranges (5,9,100-199), a file of them (text, .npy, .ivecs, .h5:name), or "
       "bits:FILE; a .jsonl, or a data set of HDF5 with several columns, has a filter for each query");
  text("--filter-not", forbidden, "Find rows with other ids only");
  options
      .choice<FilterPlan>("--filter-plan", plan, "PLAN",
                          "How: scan (the probed lists), direct (the allowed rows: exact), or auto (direct where no "
                          "more rows are allowed than a query would scan)",
                          {{"auto", FilterPlan::automatic}, {"scan", FilterPlan::scan}, {"direct", FilterPlan::direct}})
      .shows("auto");
}

}  // namespace ivf::cli
