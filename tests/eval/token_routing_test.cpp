// What TokenRouting keeps of an evaluation. Its counts are checked where evaluations are (choice_test.cpp).

#include <moegrad/eval/token_routing.hpp>
#include <moegrad/io/tokenizer_json.hpp>

#include "io/support.hpp"

using namespace moegrad;

TEST_CASE("token routing: texts are kept until their choices are many, and all are counted") {
    const Tokenizer tokenizer = load_tokenizer(MOEGRAD_SOURCE_DIR "/tests/golden/eval");
    const auto kept_of = [&](std::size_t routers, Index tokens, int texts) {
        std::vector<RouterChoice> choices;
        for (std::size_t r = 0; r < routers; ++r)
            choices.push_back({format("router {}", r), 2, Tensor<std::int32_t>::zeros({tokens, 1})});
        const auto n = static_cast<std::size_t>(tokens);
        const RoutedText text{
            "one", "a", std::vector<std::int32_t>(n, 5), std::vector<ByteRange>(n, {0, 1}), {}};
        TokenRouting routing(0, 4);
        for (int i = 0; i < texts; ++i) routing.add(choices, text, 0, tokenizer);
        CHECK(routing.tokens() == texts * tokens);
        CHECK(routing.load() == 1);
        const Json json = routing.json();
        return JsonRef(json, "tokens.json").at("texts").array().size();
    };
    CHECK(kept_of(2, 3, 6) == 4);       // the count of texts
    CHECK(kept_of(100, 1000, 4) == 2);  // 200,000 choices
    CHECK(kept_of(100, 1001, 4) == 2);  // the second goes beyond
    CHECK(kept_of(100, 2500, 4) == 1);  // the first does
}
