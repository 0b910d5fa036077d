#pragma once
/// \file
/// What the writers of stored matrices share: conversion in batches, and messages about single values.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "elements.h"
#include "ivf/datasets/datasets.hpp"

namespace ivf::datasets {

/// A format's writer takes converted rows.
class StoredWriter : public Writer {
 public:
  void write(const float* rows, std::size_t count) override;
  void write_ids(const idx_t* rows, std::size_t count) override;

 protected:
  /// `prefix` bytes are kept free before every converted row.
  StoredWriter(std::string name, std::size_t dim, Element element, std::size_t prefix = 0);

  /// Takes `count` rows of prefix + dim * element_size bytes. The prefixes may be filled in.
  virtual void put(std::byte* rows, std::size_t count) = 0;

  const std::string& name() const noexcept { return name_; }
  std::size_t dim() const noexcept { return dim_; }
  Element element() const noexcept { return element_; }
  std::uint64_t rows_written() const noexcept { return rows_; }
  std::size_t row_bytes() const noexcept { return row_bytes_; }

 private:
  template <class Convert, class Value>
  void write_with(Convert convert, const Value* rows, std::size_t count);

  std::string name_;
  std::size_t dim_;
  Element element_;
  std::size_t prefix_;
  std::size_t row_bytes_;
  std::uint64_t rows_ = 0;
  std::vector<std::byte> batch_;
};

/// Throws Error(misuse) when the dimension is out of range, or when `fixed` is another type than the one asked for.
void check_shape(const std::string& name, std::size_t dim, Element element, std::optional<Element> fixed);

}  // namespace ivf::datasets
