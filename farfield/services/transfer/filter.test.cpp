#include "farfield/services/transfer/filter.hpp"

#include "farfield/services/transfer/testing.hpp"

namespace farfield::services::transfer {
namespace {

TEST(Filter, PatternsWithoutSlashMeanTheName) {
  EXPECT_TRUE(path_matches("*.h5", "a.h5"));
  EXPECT_TRUE(path_matches("*.h5", "deep/er/a.h5"));
  EXPECT_FALSE(path_matches("*.h5", "a.h5.tmp"));
  EXPECT_TRUE(path_matches("scan_???", "x/scan_100"));
  EXPECT_FALSE(path_matches("scan_???", "x/scan_1000"));
  EXPECT_TRUE(path_matches(".*", "x/.hidden"));
}

TEST(Filter, PatternsWithSlashMeanThePath) {
  EXPECT_TRUE(path_matches("raw/*.h5", "raw/a.h5"));
  EXPECT_FALSE(path_matches("raw/*.h5", "raw/sub/a.h5"));  // one star stays in its folder
  EXPECT_FALSE(path_matches("raw/*.h5", "x/raw/a.h5"));
  EXPECT_FALSE(path_matches("raw?a.h5/", "raw/a.h5"));
  EXPECT_TRUE(path_matches("raw/**", "raw/sub/a.h5"));
  EXPECT_TRUE(path_matches("**/a.h5", "raw/sub/a.h5"));
  EXPECT_TRUE(path_matches("**/a.h5", "a.h5"));
  EXPECT_FALSE(path_matches("**/a.h5", "ba.h5"));
  EXPECT_TRUE(path_matches("raw/**/a.h5", "raw/a.h5"));
  EXPECT_TRUE(path_matches("raw/**/a*.h5", "raw/x/y/ab.h5"));
  EXPECT_FALSE(path_matches("raw/**/a*.h5", "raw/x/y/b.h5"));
}

TEST(Filter, ExcludeBeatsInclude) {
  const Filter filter{{"*.h5", "meta/*"}, {"tmp*", "raw/old"}};
  EXPECT_TRUE(takes_file(filter, "a.h5"));
  EXPECT_TRUE(takes_file(filter, "meta/log.txt"));
  EXPECT_FALSE(takes_file(filter, "log.txt"));
  EXPECT_FALSE(takes_file(filter, "tmp.h5"));
  EXPECT_TRUE(takes_folder(filter, "raw"));
  EXPECT_FALSE(takes_folder(filter, "raw/old"));
  EXPECT_TRUE(takes_file({}, "anything"));
}

TEST(Filter, NoPatternTakesLong) {
  std::string pattern, text(2000, 'a');
  for (int i = 0; i < 100; ++i) pattern += "**a*";
  EXPECT_FALSE(path_matches(pattern + "/b", text));
}

TEST(Filter, RefusesEmptyPatterns) {
  EXPECT_EQ(testing::caught([] { check({{""}, {}}); }).code, core::ErrorCode::invalid_argument);
  EXPECT_EQ(testing::caught([] { check({{}, {std::string(5000, 'x')}}); }).code, core::ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace farfield::services::transfer
