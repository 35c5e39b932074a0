"""The table of rules by which `tasks/guess.py` tells which task a question is for, in English, Japanese and Chinese."""

import re
from dataclasses import dataclass, field
from functools import cached_property

FALLBACK = "open-ended"
_ANY = ("image", "video")
_VIDEO = ("video",)
_IMAGE = ("image",)


@dataclass(frozen=True)
class Rule:
    """Patterns of one task; each is searched for in one sentence, in lower case and without its polite opening."""

    problem_type: str
    data_types: tuple[str, ...]
    english: tuple[str, ...] = ()
    """Patterns of whole words, in which `^` is the start of what is asked."""
    japanese: tuple[str, ...] = field(default=(), kw_only=True)
    chinese: tuple[str, ...] = field(default=(), kw_only=True)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """All patterns as one."""
        return re.compile(
            "|".join([*(rf"(?<!\w)(?:{one})(?!\w)" for one in self.english), *self.japanese, *self.chinese])
        )


_MOMENT = r"(?:moments?|parts?|segments?|clips?|sections?|scenes?|seconds?|minutes?|points?|timestamps?|intervals?)"
_FIND = r"^(?:find|locate|show|give|get|mark|identify|spot|skip to|jump to|go to)(?: me| us)?"
_SHAPE = r"(?:\w+ )?(?:triangle|circle|square|rectangle|trapezoid|trapezium|polygon|figure|shape|shaded region)"
_UNIT = (
    r"(?:(?:centi|milli|kilo)?met(?:er|re)s?|feet|foot|inches|miles|yards|cm|mm|km|m|seconds|secs|minutes|mins|hours"
    r"|kilos?|kilograms?|kg|grams|pounds|lbs|degrees|square \w+)"
)
_BE = r"(?:is|are|was|were)"
_AND_WHERE = rf"(?:(?<=, )|(?<=and ))where(?:'s| {_BE}) (?!.* (?:going|from|looking|heading)$).+"

RULES = (
    # Words that look like another task's, and are not.
    Rule(
        "spatial-temporal grounding",
        _VIDEO,
        (r"when and where", r"where and when", r"when(?:,| does| is)?\b.* and where"),
        japanese=("いつ.*どこ", "どこ.*いつ"),
        chinese=(
            "(?:何时|什么时候|什么时间).*(?:何地|哪里|哪儿|哪个位置|在哪)",
            "(?:哪里|哪儿|在哪).*(?:何时|什么时候)",
        ),
    ),
    Rule("spatial-temporal grounding", _VIDEO, (_AND_WHERE, r"where$")),
    Rule("spatial grounding", _IMAGE, (_AND_WHERE, r"where$")),
    Rule(
        FALLBACK,
        _ANY,
        (
            r"^(?:describe|caption|summari[sz]e|explain|translate|compare|discuss|why|write|tell)",
            r"^how (?:do|does|did|can|should|would|could|to|come|about)",
            r"^(?:is|are|was|were|isn't|aren't|does|do|did|doesn't|don't|has|have|had|can|could|should|will|would)",
            rf"^where(?:'s| {_BE}) (?:this|that|we|they|i)(?: (?:photo|picture|image|video|film|place)\b.*)?$",
            r"^where (?:am i|are we)",
            r"^(?:when|where)\b.* (?:taken|filmed|shot|made|built|born|recorded|painted|photographed)$",
            rf"^where(?:'s| {_BE})\b.* (?:from|to|going|looking|heading|headed|pointing|facing)$",
            r"^(?:what time is it|what's the time|what is the time)",
            r"^(?:find|figure|work) out (?:why|how|who|what|if|whether)",
            r"^show (?:me |us )?(?:how|why|what)",
            r"^(?:find|spot|name|list|show)(?: me| us)?(?: all)?(?: of)?(?: the)?(?: \w+)?"
            r" (?:differences|mistakes|errors)",
        ),
        japanese=(
            "説明(?:して(?!い)|せよ)|述べ|要約|なぜ|どうして|キャプション|訳して|翻訳",
            "どこ(?:で|の場所で)?(?:撮|撮影)|いつ(?:撮|撮影)",
            "どこ(?:へ|に(?:向か|行|いく)|から|の国|を見て)",
        ),
        chinese=(
            "描述|概括|总结|總結|说明|為什麼|为什么|为何|解释|解釋|翻译|翻譯",
            "(?:在)?(?:哪里|哪儿|哪裡|什么时候|何时|哪)(?:拍|摄)",
            "(?:去|往|向|从|来自|看)(?:哪|什么地方)|哪里人",
        ),
    ),
    # Places with their text, cuts and tracks.
    Rule(
        "ocr",
        _ANY,
        (
            r"^(?:read|transcribe|ocr|spell out|type out|copy out)",
            r"^extract(?: all)?(?: of)?(?: the)? (?:\w+ )?(?:text|words|letters|writing)",
            r"^what (?:does|do|did) (?!(?:the |this |that )?(?:\w+ )?(?:man|woman|boy|girl|person|people|guy|he|she"
            r"|they"
            r"|we|you|i|speaker|child|kid|narrator|voice)s? )[^,]+ (?:say|says|read)",
            r"^what(?:'s| is| are)?(?: it)? (?:says?|written|printed|spelled)",
            r"^what(?:'s| is| are)?\b.* (?:written|printed|engraved|reads?|says?) (?:on|at|above|below|under|here)",
            r"^what(?:'s| is| are) (?:the|this|that|my|his|her|its|their) (?:(?!of |for )\S+ ){0,3}(?:text|handwriting"
            r"|inscription|lettering|licen[cs]e plate|number plate|plate number|phone number|serial number|number on"
            r"|words? on)\b.*",
            r"^(?:what|which) (?:number|word|words|text|letters?) (?:is|are|does|can|do|appears?|stands?)",
            r"^(?:give|show|get|tell)(?: me| us)? (?:all )?(?:of )?(?:the )?(?:text|words|writing)",
            r"^(?:text|words) (?:on|in|of)",
        ),
        japanese=(
            "読んで(?:くだ|下さ|くれ|ほし|欲し|もら|$)|読み(?:取|上げ)|読(?:め|みなさい)$|読めますか",
            "(?:何|なん|なに)(?:と|て|って|が)書|書いてあ|書かれて|書き起こ|文字起こし|文字を|ナンバープレートは",
        ),
        chinese=(
            "^(?:读|讀|念|朗读)|(?:读|讀|念)(?:出|一下|取)|上面写|写(?:着|的是|了|的)(?:什么|啥)|寫(?:著|的是|了)什麼",
            "(?:识别|識別|提取|转写|辨认).*(?:文字|文本|字)|什么字|文字(?:内容)?是|车牌号|车牌是",
        ),
    ),
    Rule(
        "segmentation",
        _ANY,
        (
            r"^(?:segment|cut out|cutout|outline|isolate|mask|silhouette)",
            r"^(?:cut|crop|carve) .* out",
            r"^(?:extract|separate) (?:the|a|an|this|that|my|his|her|every|all) .+",
            r"^(?:remove|erase|delete|get rid of|drop) (?:the |its |his |her )?background",
            r"(?:segmentation|pixel) masks?",
            r"^(?:(?:draw|make|create|give|get|show|produce|generate|paint|want|need)(?: me| us)? )?(?:a|an|the)?"
            r" ?(?:masks?|"
            r"cutouts?|cut-outs?|silhouettes?|outlines?|contours?)\b (?:of|for|around|over|on)",
            r"(?:the|this|that|my) .+ (?:cut out|segmented|masked|isolated)$",
            r"^trace (?:around|the (?:outline|contour|edge))",
        ),
        japanese=(
            "切り(?:抜|取|出)|セグメン|マスク(?:を(?:作|描|出|生成)|して|化)|輪郭を|背景を(?:消|除|取り除|削除)",
        ),
        chinese=("分割|抠(?:出|图|一下|下)|摳|掩码|掩膜|蒙版|轮廓|去(?:掉|除)背景|剪出来|裁剪出",),
    ),
    Rule(
        "tracking",
        _VIDEO,
        (
            r"^(?:track|keep track of|keep (?:an |your )?eyes? on|keep following|trail)",
            r"^follow (?!(?:the |these |those )?(?:instructions?|steps?|recipe|rules?|directions?|guide))\w+",
            r"^(?:where|find|locate|show|box|mark|give).* (?:throughout|in (?:every|each|all) frames?|at (?:every|each)"
            r" (?:second|moment|time)|through the (?:whole |entire )?video|over time|all the time)",
            r"^(?:object )?tracking",
        ),
        japanese=("追跡|トラッキング|追(?:って|いかけて)(?:くだ|下さ|くれ|ほし|$)|追尾|目で追",),
        chinese=("跟踪|追踪|追蹤|^(?:请|请你|帮我|麻烦)*(?:跟着|跟随|盯着|盯住|跟住)",),
    ),
    Rule(
        "temporal grounding",
        _VIDEO,
        (
            r"^(?:(?:from|until|till|since|at|find|locate|show|mark|figure out|find out|see|check)(?: me| us)? )?when"
            r"(?!.*,\s*(?:what|who|how|why|which|whose|is|are|does|do|did)\b).*",
            r"^(?:in |at |during |around |from )?(?:what|which) (?:time|moment|point|second|minute|frame|interval"
            r"|time ?stamp)s?",
            r"^(?:in |at |during )?(?:what|which) (?:part|segment|section)s?(?: (?:of|in) the (?:video|clip|film"
            r"|movie))?"
            r" (?:does|do|did|is|are|was|were|shows?|has|contains?)",
            rf"{_FIND} (?:the |a |all |every )?(?:exact |first |last |start|time |whole )*{_MOMENT} (?:when|where|in"
            rf" which"
            r"|that|at which|of|with|during|for|who|showing|he|she|the|it|they)",
            rf"^(?:the )?{_MOMENT} (?:when|where|in which|that|at which)",
            r"(?:timestamps?|time ?stamps?|time span|time range|time interval|start and end|start time|end time)",
            r"^(?:find|locate|mark|give|show)(?: me| us)? the (?:time|times|beginning|start|end) (?:when|of|at|that)",
        ),
        japanese=(
            "いつ(?!も)|何秒(?!間|か[かけ])|何分何秒|何分(?!間|か[かけ]|の)|どの(?:場面|シーン|時点|瞬間|部分|あたり)",
            "(?:瞬間|場面|シーン|時間)(?:を|は)(?:見つけ|探|教え|示)|瞬間はどこ|(?:始ま|終わ)(?:り|る)(?:時間|時刻)",
        ),
        chinese=(
            "什么时候|什麼時候|何时|何時|什么时间|哪(?:一|个)?(?:刻|秒|时刻|时间段|时间|片段|段|时候)|第?几秒(?:时|开始|到|$)|第几秒",
            "(?:时刻|时间段|片段|瞬间|时间点|时间戳|起止时间)",
        ),
    ),
    # Numbers: mathematics, measures, counts.
    Rule(
        "math",
        _ANY,
        (
            r"^(?:solve|simplify|factori[sz]e|factor|differentiate|integrate|prove|derive)",
            r"^(?:calculate|compute|work out|determine|evaluate) (?!.*\b(?:distance|height|weight|speed|percentage"
            r"|number"
            r" of|how many|quality)\b).+",
            r"^(?:what(?:'s| is)|how much is|find)? ?[-(]*\d[\d\s.()]*(?:[-+*/×÷^]|plus|minus|times|divided"
            r" by)[\s\d.()+*/×"
            r"÷^=-]*",
            r"(?:find|for|value of|what(?:'s| is)|of) [xyzn]",
            r"[a-z]\s*=\s*[-\d?].*",
            r"^-?\d*[a-z](?:\s*\^\s*\d+)?\s*[-+*/=].*=.*",
            rf"(?:area|perimeter|circumference|hypotenuse|radius|diameter|volume|surface area) of (?:the |a |this"
            rf" )?{_SHAPE}",
            r"^find (?:the )?(?:missing |unknown )?(?:angles?|length|side|area|perimeter|volume|value|sum|hypotenuse"
            r"|radius|slope|derivative|integral|roots?|probability|measure)\b.*",
            r"angle (?!of|in|on|at|to|by|is|or|if|as|the|are|was|and|for|you)[a-z]{1,3}\b.*",
            r"(?:side|segment|arc) (?!of|in|on|at|to|by|is|or|if|as|it|he|we|do)[a-z]{2}\b.*",
            r"(?:value of|derivative of|integral of|slope of|equation of|limit of|determinant of)(?: the)? .+",
        ),
        japanese=("解(?:いて|け|きなさい|を求め|き方)|計算|求め(?:て|よ|なさい)|方程式|の値は|微分|積分|因数分解",),
        chinese=(
            "解(?:方程|这道|出|下|一下|题|答)|求(?:解|出|[a-z∠]|.*的(?:值|面积|长度|周长|角))|计算|計算|的值|化简|因式分解|算(?:一下|出)",
        ),
    ),
    Rule(
        "regression",
        _ANY,
        (
            r"how (?:far|tall|long|wide|high|deep|heavy|big|large|fast|old|thick|close|near|hot|cold|small|steep"
            r"|broad)",
            rf"how (?:many|much) (?:more )?{_UNIT}",
            r"how much (?:does|do|did) .+ weigh",
            r"^(?:in )?(?:what|estimate|guess|measure|give|how much|calculate|compute|work out"
            r"|determine)\b.*\b(?:distance"
            r"|height|width|length|depth|weight|age|speed|duration|temperature|size|area|volume)(?: (?:of|between"
            r"|from|to|in"
            r"|does|is|are)\b.*|$)",
            r"^(?:estimate|measure)",
            r"^distance (?:from|between|to)",
        ),
        japanese=(
            "距離|高さ|長さ|重さ|深さ|幅は|身長|体重|年齢|速さ|速度|温度|大きさ|面積|何歳|いくつ(?:ですか)?の人|どのくらい|どれくらい|どれぐらい",
            "何(?:メートル|センチ|ミリ|キロ|グラム|フィート|インチ|度|秒間|秒か|分間|分か|時間)",
        ),
        chinese=(
            "多(?:远|遠|高|长|長|宽|寬|深|重|快|久|厚|大(?!家))|距离|距離|高度|宽度|长度|重量|体重|身高|年龄|速度|温度|面积",
            "(?:几|幾|多少)(?:岁|歲|米|厘米|公分|公里|千米|毫米|英尺|英寸|度|分钟|小时|公斤|千克|斤|克|平方)|多少秒|几秒钟",
        ),
    ),
    Rule(
        "numerical",
        _ANY,
        (
            r"how ?many",
            r"how ?much",
            r"^(?:count|tally)",
            r"(?:number|amount|quantity|count|total|sum|average|mean|percentage|percent|proportion|share|ratio"
            r"|fraction|price"
            r"|cost) of",
            r"^(?:in )?(?:what|which)(?:'s| is| are|s)?(?: the)? (?:\w+ )?(?:percentage|percent|proportion|fraction"
            r"|ratio|total"
            r"|price|sum|average|difference between|cost|amount|count)",
            r"what (?:does|do) .+ cost",
            r"(?:and|then|then,) count",
        ),
        japanese=(
            "何(?:人|個|匹|本|枚|台|頭|羽|冊|回|杯|軒|つ|種類|点|着|足|件|パーセント|%|割|円|ドル|羽|隻|両|ヶ|か所|カ所|箇所)",
            "いくつ|いくら|数え|の数は|数を|割合|合計|平均",
        ),
        chinese=(
            "多少|(?<![这那哪好第這])[几幾](?!点|點|岁|时|乎|何|年|号|月|秒)|数(?:一数|一下|数|出|清)|總共|总共|一共|总数|百分比|占比|比例|平均|价格",
        ),
    ),
    # Places, last: "find" and "show" begin much that is asked.
    *(
        Rule(
            place,
            data_types,
            (
                rf"^where(?:'s| (?:{_BE}|in|on))",
                r"^where (?:the|my|his|her|a|an|can i (?:see|find)|do you see)",
                r"^(?:find|locate|detect|spot|localize|localise|look for|search for|pinpoint|ground|highlight|crop)",
                r"^show (?:me |us )?(?:where|the|a|an|my|his|her|every|all|which|that)",
                r"^point (?:at|to|out|me to)",
                r"^(?:draw|put|place|make|give|get|show|add|return)(?: me| us)?(?: the| a| an)? (?:tight"
                r" )?(?:bounding )?"
                r"(?:box|boxes|bbox|rectangle|frame|circle|square)",
                r"(?:bounding box|bbox|bounding boxes)",
                r"^(?:box|circle|mark|frame) (?:the|a|an|every|my|his|her|all)",
                r"(?:coordinates?|position|location|whereabouts) of",
            ),
            japanese=(
                "どこ|どの位置|どのへん|場所|位置|見つけて(?!い)|見つけ(?:なさい|ろ)|探して(?!い)|囲(?:んで|め)|指して|検出",
            ),
            chinese=(
                "哪里|哪儿|哪裡|哪邊|哪边|在哪|什么地方|什么位置|哪个位置|找(?:到|出|一下|找|下)|定位|框(?:出|选|住|起|一下)|标出|圈出|指出|检测|位置|坐标",
            ),
        )
        for place, data_types in (("spatial-temporal grounding", _VIDEO), ("spatial grounding", _IMAGE))
    ),
)
"""The first rule of a medium that fits a sentence counts; a question has the task of its first sentence that has one
which is not open-ended. Without a rule it is open-ended.
"""
