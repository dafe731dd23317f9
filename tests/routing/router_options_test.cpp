// router.options: key=value text, read by the router that asks, refused when nobody does.

#include <moegrad/routing/router_options.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

namespace {

std::string refusal_of_options(const std::string& text, bool all_read = true) {
    try {
        const RouterOptions options(text);
        options.number("floor", 0.5);
        options.count("nulls", 3);
        options.flag("share", false);
        options.text("kind", "plain");
        if (all_read) options.require_all_read("mine");
    } catch (const Error& error) {
        CHECK(error.code == ErrorCode::config);
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("router options: values, and what is usual where nothing is said") {
    const RouterOptions options(" floor = 0.25,nulls=4, share=true ,kind=a=b");
    CHECK(options.number("floor", 0.5) == 0.25);
    CHECK(options.count("nulls", 3) == 4);
    CHECK(options.flag("share", false));
    CHECK(options.text("kind", "plain") == "a=b");
    options.require_all_read("mine");

    const RouterOptions none;
    CHECK(none.number("floor", 0.5) == 0.5);
    CHECK(none.count("nulls", 3) == 3);
    CHECK_FALSE(none.flag("share", false));
    CHECK(none.text("kind", "plain") == "plain");
    CHECK(none.either("sum", "own", "base"));
    CHECK_FALSE(RouterOptions("sum=base").either("sum", "own", "base"));
    CHECK_THROWS_WITH_AS(RouterOptions("sum=b").either("sum", "own", "base"),
                         doctest::Contains("own or base"), Error);
    none.require_all_read("mine");
    RouterOptions("").require_all_read("mine");
}

TEST_CASE("router options: a copy that reads counts for the original") {
    const RouterOptions options("floor=0.25");
    RouterOptions(options).number("floor", 0);
    options.require_all_read("mine");
}

TEST_CASE("router options: what is wrong is named") {
    CHECK(refusal_of_options("floor=0.25") == "");
    CHECK(refusal_of_options("flor=0.25").find("did you mean `floor`?") != std::string::npos);
    CHECK(refusal_of_options("floor").find("key=value") != std::string::npos);
    CHECK(refusal_of_options("=2").find("key=value") != std::string::npos);
    CHECK(refusal_of_options("floor=1,floor=2").find("each option once") != std::string::npos);
    for (const char* number : {"x", "", "1e999", "nan", "2 3"}) {
        CAPTURE(number);
        CHECK(refusal_of_options("floor=" + std::string(number)).find("a finite number") !=
              std::string::npos);
    }
    for (const char* count : {"-1", "1.5", "1e17"}) {
        CAPTURE(count);
        CHECK(refusal_of_options("nulls=" + std::string(count)).find("a whole number") != std::string::npos);
    }
    CHECK(refusal_of_options("share=yes").find("true or false") != std::string::npos);
}
