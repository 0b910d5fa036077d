#pragma once
/// \file
/// The HDF5 C library, made safe to call: closed handles, silent errors, one caller at a time, no code or data from
/// outside the file.

// Newer libraries then offer the functions of 1.10 under their plain names.
#ifndef H5_USE_110_API
#define H5_USE_110_API
#endif
#include <hdf5.h>

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "ivf/datasets/datasets.hpp"

namespace ivf::datasets {

/// To be held around every call of the library, which is not thread-safe. Keeps the library from printing its errors
/// and from loading filter plugins; restores the caller's error printing.
class Hdf5Guard {
 public:
  Hdf5Guard();
  Hdf5Guard(const Hdf5Guard&) = delete;
  Hdf5Guard& operator=(const Hdf5Guard&) = delete;
  ~Hdf5Guard();

 private:
  std::unique_lock<std::recursive_mutex> lock_;
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

/// To be called in a child process before anything else here: the lock that its parent held during the fork is nobody's
/// there.
void hdf5_after_fork();

/// Owner of a handle. Every kind of handle is released in the same way.
class Hdf5Id {
 public:
  Hdf5Id() = default;
  explicit Hdf5Id(hid_t id) noexcept : id_(id) {}
  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  Hdf5Id& operator=(Hdf5Id&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Hdf5Id() { reset(); }

  /// False when the library refused to release the handle, as when the last write of a file failed.
  bool reset() noexcept { return id_ < 0 || H5Idec_ref(std::exchange(id_, H5I_INVALID_HID)) >= 0; }
  hid_t get() const noexcept { return id_; }
  explicit operator bool() const noexcept { return id_ >= 0; }

 private:
  hid_t id_ = H5I_INVALID_HID;
};

/// Properties for reaching an object by name without leaving the file: external links are refused.
class LinkAccess {
 public:
  /// H5P_LINK_ACCESS or H5P_DATASET_ACCESS.
  explicit LinkAccess(hid_t property_class);
  LinkAccess(const LinkAccess&) = delete;
  LinkAccess& operator=(const LinkAccess&) = delete;
  hid_t get() const noexcept { return id_.get(); }
  bool met_external_link() const noexcept { return met_; }

 private:
  Hdf5Id id_;
  bool met_ = false;
};

/// The name that ann-benchmarks gives to a data set of this role.
const char* hdf5_default_dataset(Role role) noexcept;

/// What the library says about its latest failure, in one line.
std::string hdf5_reason();
/// Whether that was the system, which did not open the file: nothing is known of what the file holds.
bool hdf5_open_refused();

/// Opens a regular file read-only.
Hdf5Id hdf5_open_file(const std::string& path);

/// Opens a data set that lies in the file itself.
Hdf5Id hdf5_open_dataset(hid_t file, const std::string& path, const std::string& dataset);

/// The text of a string attribute of the root group, or nothing.
std::string hdf5_root_attribute(hid_t file, const std::string& path, const std::string& name);

}  // namespace ivf::datasets
