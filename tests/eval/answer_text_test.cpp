// Reading answers out of text, prompts, and the FLOPs metric.

#include <moegrad/data/choice_prompt.hpp>
#include <moegrad/eval/answer_text.hpp>
#include <moegrad/eval/flops.hpp>

#include <doctest/doctest.h>

using namespace moegrad;

TEST_CASE("exact match and F1 are SQuAD's") {
    CHECK(exact_match("The Eiffel-Tower!", "eiffeltower"));
    CHECK(exact_match(" an   apple", "Apple."));
    CHECK_FALSE(exact_match("theory", "ory"));  // an article is a word, not a prefix
    CHECK(answer_f1("the cat sat", "a cat sat down") == doctest::Approx(0.8));       // 2 of 2, 2 of 3
    CHECK(answer_f1("cat cat", "cat dog cat cat") == doctest::Approx(2.0 * 2 / 6));  // a bag
    CHECK(answer_f1("dog", "cat") == 0);
    CHECK(answer_f1("the", "") == 1);
    CHECK(answer_f1("the", "x") == 0);
}

TEST_CASE("the last number of a text") {
    const auto number = [](const char* text) { return last_number(text).value_or("none"); };
    CHECK(number("She makes 9 * 2 = $<<9*2=18>>18 every day.\n#### 18") == "18");
    CHECK(number("it costs $1,234.50.") == "1234.5");
    CHECK(number("about -3 degrees") == "-3");
    CHECK(number("1.5.2") == "5.2");
    CHECK(number("in 2019-20") == "20");  // a dash between digits is no sign
    CHECK(number("007") == "7");
    CHECK(number("0.50 or 000") == "0");
    CHECK(number("is 70,000, then") == "70000");
    CHECK(number("-$5") == "-5");
    CHECK(number("none at all") == "none");
    CHECK(gsm8k_answer("2 and 3\n#### 70,000") == "70000");
    CHECK(last_number("0.5") == last_number(".50"));
}

TEST_CASE("the first label of the commonsense sets") {
    const auto labels = label_family("answer3");
    CHECK(labels.size() == 5);
    CHECK(first_label("the correct answer is answer2, not answer1", labels) == 1);
    CHECK(first_label("the answer is 2", labels) == -1);
    CHECK(first_label("Untrue... false", label_family("true")) == 0);  // as their expression finds it
    CHECK(label_family("ending4").size() == 4);
    CHECK(label_family("option2").size() == 2);
    CHECK(label_family("solution1").size() == 2);
    CHECK_THROWS_AS(label_family("answer6"), Error);
}

TEST_CASE("prompts of the tasks") {
    ChoiceItem item;
    item.question = "is it?";
    item.context = "A passage.";
    item.choices = {"yes", "no"};
    CHECK(choice_prompt(item, ChoiceFormat::boolq).context.front() ==
          "A passage.\nQuestion: is it?\nAnswer:");
    CHECK(choice_prompt(item, ChoiceFormat::siqa).context.front() == "Q: A passage. is it?\nA:");
    CHECK(choice_prompt(item, ChoiceFormat::world).context.front() == "A passage. is it?");
    const auto letter = choice_prompt(item, ChoiceFormat::arc, ChoiceStyle::letter);
    CHECK(letter.context.front() == "Question: is it?\nA. yes\nB. no\nAnswer:");
    CHECK(letter.continuation == std::vector<std::string>{" A", " B"});
    CHECK(choice_prompt(item, ChoiceFormat::world, ChoiceStyle::letter).context.front() ==
          "A passage. is it?\nA. yes\nB. no\nAnswer:");
    CHECK(choice_format("arc_challenge") == ChoiceFormat::arc);
    CHECK_THROWS_AS(choice_format("mmlu"), Error);
}

TEST_CASE("HellaSwag's cleaning") {
    CHECK(detail::clean_hellaswag("  a [title] b [step] c  d ") == "a. b c d");
    CHECK(detail::clean_hellaswag("open [ bracket") == "open [ bracket");
    CHECK(detail::clean_hellaswag("[a[b]c]") == "c]");  // the shortest stretch
}

TEST_CASE("WinoGrande scores the text after the gap") {
    ChoiceItem item;
    item.question = "Sam gave Tom the cup as _ was thirsty.";
    item.choices = {"Sam", "Tom"};
    const auto prompt = choice_prompt(item, ChoiceFormat::winogrande);
    CHECK(prompt.context ==
          std::vector<std::string>{"Sam gave Tom the cup as Sam", "Sam gave Tom the cup as Tom"});
    CHECK(prompt.continuation == std::vector<std::string>{" was thirsty.", " was thirsty."});
    item.question = "no gap";
    CHECK_THROWS_AS(choice_prompt(item, ChoiceFormat::winogrande), Error);
}

TEST_CASE("FLOPs saved on Mixtral-8x7B at 256 tokens are 0.882 (1 - load / 2)") {
    ModelConfig config = family_defaults(ModelFamily::mixtral);
    config.hidden_size = 4096;
    config.intermediate_size = 14336;
    config.num_hidden_layers = 32;
    config.num_attention_heads = 32;
    config.num_key_value_heads = 8;
    config.head_dim = 128;
    config.vocab_size = 32000;
    config.num_local_experts = 8;
    config.num_experts_per_tok = 2;
    const double keys = keys_seen(256) / 256;
    CHECK(keys == 128.5);
    CHECK(flops_saved(config, keys, 0) == doctest::Approx(0.8820).epsilon(1e-4));
    // Table 1 of AdaMoE: load 1.66 saves 14.99 %, 1.59 saves 18.07 %, 1.70 saves 13.22 % (loads have two digits).
    CHECK(std::abs(flops_saved(config, keys, 1.66) - 0.1499) < 0.0025);
    CHECK(std::abs(flops_saved(config, keys, 1.59) - 0.1807) < 0.0025);
    CHECK(std::abs(flops_saved(config, keys, 1.70) - 0.1322) < 0.0025);
    CHECK(flops_saved(config, keys, 2) == 0);
    CHECK(keys_seen(5, 3) == 1 + 2 + 3 + 3 + 3);
    CHECK(keys_seen(2, 3) == 1 + 2);
}
