#include "farfield/core/error.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>

namespace farfield::core {
namespace {

TEST(Error, EveryCodeHasItsOwnRow) {
  std::set<std::string_view> names;
  for (int c = 0; c <= static_cast<int>(ErrorCode::internal); ++c) {
    const auto code = static_cast<ErrorCode>(c);
    EXPECT_EQ(traits(code).code, code) << "code " << c << " has no row";
    EXPECT_TRUE(names.insert(traits(code).name).second) << traits(code).name << " twice";
  }
}

TEST(Error, ExitCodesAreTheDocumentedOnes) {
  EXPECT_EQ(traits(ErrorCode::invalid_argument).exit_code, 2);
  EXPECT_EQ(traits(ErrorCode::not_found).exit_code, 10);
  EXPECT_EQ(traits(ErrorCode::conflict).exit_code, 11);
  EXPECT_EQ(traits(ErrorCode::forbidden).exit_code, 12);
  EXPECT_EQ(traits(ErrorCode::unauthenticated).exit_code, 12);
  EXPECT_EQ(traits(ErrorCode::corrupt_data).exit_code, 13);
  EXPECT_EQ(traits(ErrorCode::timeout).exit_code, 75);
  EXPECT_EQ(traits(ErrorCode::unavailable).exit_code, 75);
  EXPECT_EQ(traits(ErrorCode::cancelled).exit_code, 130);
  EXPECT_EQ(traits(ErrorCode::internal).exit_code, 1);
}

// A script retries on exit code 75 (EX_TEMPFAIL), a client on what the table calls retryable: never one without the
// other.
TEST(Error, RetryableMeansExitCode75AndAServerStatus) {
  for (int c = 0; c <= static_cast<int>(ErrorCode::internal); ++c) {
    const auto& row = traits(static_cast<ErrorCode>(c));
    EXPECT_EQ(row.retryable, row.exit_code == 75) << row.name;
    EXPECT_NE(row.exit_code, 0) << row.name;
    EXPECT_GE(row.http_status, 400) << row.name;
    EXPECT_LT(row.http_status, 600) << row.name;
    EXPECT_FALSE(row.python_exception.empty()) << row.name;
  }
}

// Tests run in the repository root.
TEST(Error, TheReferencePageShowsThisTable) {
  std::ifstream file("docs/reference/errors.md");
  const std::string page{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  for (int c = 0; c <= static_cast<int>(ErrorCode::internal); ++c) {
    const auto& row = traits(static_cast<ErrorCode>(c));
    const auto line = fmt::format("| `{}` | {} | {} | `{}` | {} |", row.name, row.exit_code, row.http_status,
                                  row.python_exception, row.retryable ? "yes" : "no");
    EXPECT_NE(page.find(line), std::string::npos) << "missing in docs/reference/errors.md: " << line;
  }
}

TEST(Error, SaysWhatThenWhereInnermostFirst) {
  Error e(ErrorCode::corrupt_data, "detector distance -0.12 m must be > 0");
  EXPECT_STREQ(e.what(), "detector distance -0.12 m must be > 0");
  e.at("/entry/instrument/detector/distance").at("scan_0042.h5");
  EXPECT_STREQ(e.what(), "detector distance -0.12 m must be > 0 (/entry/instrument/detector/distance, scan_0042.h5)");
  EXPECT_EQ(e.message(), "detector distance -0.12 m must be > 0");
}

TEST(Error, KeepsItsContextWhenThrownInOneExpression) {
  try {
    throw Error(ErrorCode::io, "cannot read").at("scan.cxi");
  } catch (const std::exception& e) {
    EXPECT_STREQ(e.what(), "cannot read (scan.cxi)");
  }
}

TEST(Result, GivesTheValueOrThrowsTheError) {
  EXPECT_EQ(value_or_throw(Result<int>(7)), 7);
  EXPECT_NO_THROW(value_or_throw(Result<void>()));
  const auto failed = []() -> Result<int> { return failure(ErrorCode::timeout, "no frame within 2 s"); };
  try {
    value_or_throw(failed());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::timeout);
  }
}

}  // namespace
}  // namespace farfield::core
