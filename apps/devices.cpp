// ivf devices: what can compute here.

#include "bench/devices.h"
#include "command.h"
#include "device_options.h"
#include "message.h"
#include "stdout.h"
#include "summary.h"
#include "table.h"

namespace ivf::cli {
namespace {

std::string memory(std::uint64_t bytes) { return bytes == 0 ? "?" : human_bytes(bytes); }

class Devices final : public Command {
 public:
  void define(OptionSet& options) override {
    options.describe(
        "List the devices that can compute here: who computes there (native: kernels of ivf; torch: LibTorch), memory, "
        "the types that rows can be kept in (--dtype), and where rows that pass the filter are re-computed exactly. "
        "Then what keeps other kinds of devices from being used.",
        R"(Examples:
  ivf devices
  ivf devices --json | jq -r '.devices[].name'
  ivf devices --torch-plugin /path/to/library.so
)");
    options.group("Device options");
    define_torch_plugin(options, torch_plugin_);
  }

  int run(Context& context) override {
    const bench::DeviceListing listing = bench::find_devices(torch_plugin_);
    if (context.options.json) {
      print_json({{"devices", bench::devices_json(listing.devices)},
                  {"libtorch", bench::libtorch_json(listing)},
                  {"unavailable", bench::unavailable_json(listing)}});
      return exit_done;
    }
    Stdout out;
    out.write(table(listing.devices) + missing(listing));
    out.flush();
    return exit_done;
  }

 private:
  static std::string table(const std::vector<DeviceInfo>& devices) {
    Table table;
    table.column("device", Table::Align::left);
    table.column("backend", Table::Align::left);
    table.column("runtime", Table::Align::left);
    table.column("memory");
    table.column("free");
    table.column("dtypes", Table::Align::left);
    table.column("exact on", Table::Align::left);
    table.column("model", Table::Align::left);
    for (const DeviceInfo& device : devices) {
      table.row({device.name, device.backend, device.detail, memory(device.total_memory), memory(device.free_memory),
                 fmt::format("{}", fmt::join(bench::device_types(device), ",")), device.float64 ? "device" : "host",
                 device.description});
    }
    return table.text();
  }

  /// Kinds that are missing for the same reason share a line.
  static std::string missing(const bench::DeviceListing& listing) {
    std::string text;
    std::string_view last;
    std::string kinds;
    const auto end_line = [&] {
      if (!kinds.empty()) text += fmt::format("not {}: {}\n", kinds, last);
      kinds.clear();
    };
    for (const auto& [kind, why] : listing.unavailable) {
      if (why != last) end_line();
      last = why;
      kinds += (kinds.empty() ? "" : ", ") + kind;
    }
    end_line();
    return text.empty() ? text : "\n" + text;
  }

  std::string torch_plugin_;
};

}  // namespace

std::unique_ptr<Command> make_devices() { return std::make_unique<Devices>(); }

}  // namespace ivf::cli
