"""Questions as people type them, and the task that each is for."""

import pytest

from onethinker.tasks import find_task
from onethinker.tasks.guess import guess_task
from onethinker.tasks.guess_rules import RULES

WRITTEN = """
image | spatial grounding | Where is the cat?
image | spatial grounding | where is the cat
image | spatial grounding | WHERE IS THE CAT
image | spatial grounding | wheres my phone
image | spatial grounding | Where's Waldo?
image | spatial grounding | Find me the cat
image | spatial grounding | find the man with the mask
image | spatial grounding | Could you please find the red car for me?
image | spatial grounding | Can you tell me where the dog is?
image | spatial grounding | Do you know where the keys are?
image | spatial grounding | I want to know where the remote is
image | spatial grounding | Locate the person in the blue shirt.
image | spatial grounding | Draw a box around the horse
image | spatial grounding | Give me the bounding box of the tallest building
image | spatial grounding | point to the fire extinguisher
image | spatial grounding | show me the cup nearest to the plate
image | spatial grounding | Where is the red triangle?
image | spatial grounding | Where is the sign that says stop?
image | spatial grounding | Where is the licence plate?
image | spatial grounding | Describe the scene. Where is the cat?
image | spatial grounding | Is there a cat, and where is it?
image | spatial grounding | 猫はどこですか？
image | spatial grounding | 赤い車を見つけてください
image | spatial grounding | 猫在哪里？
image | spatial grounding | 请找到穿红衣服的人
image | spatial grounding | 框出左边的杯子
video | spatial-temporal grounding | Where is the cat?
video | spatial-temporal grounding | find me the cat
video | spatial-temporal grounding | When and where does the dog jump?
video | spatial-temporal grounding | When does the dog jump and where is it?
video | spatial-temporal grounding | Show me the man in black
video | spatial-temporal grounding | 犬はいつ、どこで跳びますか
video | spatial-temporal grounding | 狗什么时候在哪里跳？
video | temporal grounding | When does the dog jump?
video | temporal grounding | when does the dog jump
video | temporal grounding | when the dog jumps
video | temporal grounding | Tell me when the man opens the fridge, please
video | temporal grounding | At what time does the train arrive?
video | temporal grounding | at which second does he fall
video | temporal grounding | Find the moment when the ball hits the wall
video | temporal grounding | show me the part where she laughs
video | temporal grounding | In the video, when is the door closed?
video | temporal grounding | From when to when is the light on?
video | temporal grounding | give the start and end time of the goal
video | temporal grounding | Which part of the video shows the cake?
video | temporal grounding | 犬がジャンプするのはいつですか
video | temporal grounding | 何秒に始まりますか
video | temporal grounding | 狗什么时候跳起来？
video | temporal grounding | 他在第几秒摔倒
video | tracking | follow the car
video | tracking | Follow the car.
video | tracking | Track the white convertible
video | tracking | please keep an eye on the player with number 7
video | tracking | can you track the dog?
video | tracking | where is the ball in every frame
video | tracking | 白い車を追跡して
video | tracking | 跟踪白色的车
image | segmentation | cut out the horse
image | segmentation | Cut the horse out
image | segmentation | Please segment the dog on the left.
image | segmentation | Mask the sky
image | segmentation | give me a mask of the cup
image | segmentation | remove the background
image | segmentation | I'd like the cat cut out
video | segmentation | segment the running man
video | segmentation | Outline the skateboarder
image | segmentation | 馬を切り抜いて
image | segmentation | 把马抠出来
image | segmentation | 分割左边的狗
image | ocr | read the sign
image | ocr | Read the sign, please
image | ocr | what does it say
image | ocr | What does the sign say?
image | ocr | whats written on the shirt
image | ocr | What is the number on the jersey?
image | ocr | Transcribe the handwriting
image | ocr | extract all the text
image | ocr | 看板を読んでください
image | ocr | 何と書いてありますか
image | ocr | 牌子上写着什么？
video | ocr | What is the text at the bottom of the screen?
image | numerical | how many cups are there
image | numerical | How many?
image | numerical | HOW MANY PEOPLE ARE IN THE PICTURE
image | numerical | Count the birds
image | numerical | can u count the sheep
image | numerical | what percentage of people prefer tea
image | numerical | What's the total of the two bars?
image | numerical | How much does the coffee cost?
image | numerical | number of chairs
image | numerical | How many triangles do you see?
video | numerical | how many times does she jump
image | numerical | 人は何人いますか
image | numerical | リンゴはいくつありますか
image | numerical | 图中有几只猫？
image | numerical | 一共有多少个人
image | regression | How far is the chair from the door?
image | regression | how tall is the man
image | regression | What is the distance between the two cars?
image | regression | Estimate the age of the woman
image | regression | how many meters is it to the wall
image | regression | How much does the dog weigh?
image | regression | how old is he
video | regression | How long does the dog run?
video | regression | what is the area of the room
image | regression | ソファからドアまで何メートルですか
image | regression | 这个人多高？
image | math | solve
image | math | Solve this equation
image | math | Find x.
image | math | What is the area of the triangle?
image | math | calculate the perimeter
image | math | Find the value of the missing angle
image | math | What is 5 + 3?
image | math | If AB = 5, what is the length of segment BC?
image | math | この方程式を解いてください
image | math | 求三角形的面积
image | math | 解方程
image | open-ended | Describe the picture
image | open-ended | describe
image | open-ended | What colour is the car?
image | open-ended | Is there a cat?
image | open-ended | Who is the man on the left?
image | open-ended | Why is the boy crying?
image | open-ended | Where was this photo taken?
image | open-ended | Where are we?
image | open-ended | Is the man following the car?
image | open-ended | When does the train leave?
image | open-ended | When was this picture taken?
image | open-ended | Follow the car
image | open-ended |
image | open-ended | 写真を説明してください
image | open-ended | 描述这张图片
video | open-ended | What happens when the dog jumps?
video | open-ended | When the dog jumps, what does the man do?
video | open-ended | What is the man doing?
video | open-ended | What does the man say?
video | open-ended | summarise the video
video | open-ended | Where is the man going?
video | open-ended | How does she open the box?
video | open-ended | What time is it?
video | open-ended | 男は何をしていますか
image | multiple choice | Which is bigger? A. the cat B. the dog
image | multiple choice | Where is the cat? (A) left (B) right
"""

HELD_OUT = """
image | spatial grounding | hey where did the cat hide? where is it in the picture
image | spatial grounding | Looking for the blue backpack. Where is it?
image | spatial grounding | spot the frog
image | spatial grounding | Please help me find my glasses
image | spatial grounding | Would you kindly locate the exit sign?
image | spatial grounding | detect the traffic light
image | spatial grounding | put a box on the biggest fish
image | spatial grounding | In this image, where's the banana?
image | spatial grounding | I can't find the cat, where is it?
image | spatial grounding | bbox of the lamp
image | spatial grounding | where are the scissors
image | spatial grounding | location of the left shoe
image | spatial grounding | 時計はどこにある
image | spatial grounding | 帮我找一下钥匙
image | spatial grounding | 遥控器在哪儿
video | spatial-temporal grounding | locate the child who falls down
video | spatial-temporal grounding | where is the woman with the umbrella?
video | spatial-temporal grounding | Where and when does the bird land
video | spatial-temporal grounding | 赤い服の人を探してください
video | temporal grounding | when did the goal happen??
video | temporal grounding | What time does the cat enter the room
video | temporal grounding | Could you find the moment the glass breaks
video | temporal grounding | I need to know when the car stops
video | temporal grounding | during which part does he cook
video | temporal grounding | When is the man cutting the onion
video | temporal grounding | Please give me the timestamps of the dance.
video | temporal grounding | skip to the part where they kiss
video | temporal grounding | tell me at what point the music starts
video | temporal grounding | 女の人が笑う場面を見つけて
video | temporal grounding | 球什么时候进门
video | tracking | Track the dog with the red collar please
video | tracking | follow that taxi!
video | tracking | I'd like you to track the ball
video | tracking | Keep track of the blue car
video | tracking | 请跟踪穿红衣服的人
video | tracking | その犬を追いかけてください
image | segmentation | Can you cut out the person for me
image | segmentation | segmentation mask of the dog
image | segmentation | separate the cat from the background
image | segmentation | please isolate the bottle
image | segmentation | make me a cutout of the plane
image | segmentation | 人物を切り取ってください
image | segmentation | 帮我抠图
video | segmentation | Generate a mask for the bike
image | ocr | what do the letters say?
image | ocr | can you read this for me
image | ocr | What's on the label? What does it say
image | ocr | what is written above the door
image | ocr | which words are on the cover
image | ocr | What is the license plate of the truck?
image | ocr | 标志上写的是什么
image | ocr | この字を読んでもらえますか
image | numerical | hi, how many apples r there
image | numerical | How many of the children wear hats?
image | numerical | In the chart, what percentage is red?
image | numerical | please count all windows
image | numerical | what is the number of birds
image | numerical | What fraction of the pizza is left?
image | numerical | what is the price of the bread
image | numerical | 犬は何匹
image | numerical | 有多少辆车
image | regression | how wide is the river?
image | regression | whats the height of the tree
image | regression | Roughly how far away is the mountain
image | regression | how heavy is this dog
image | regression | guess his age
video | regression | how fast is the car going
image | regression | 木の高さはどれくらいですか
image | regression | 桌子离门有多远
image | math | please solve this problem step by step
image | math | solve for y
image | math | What is the perimeter of the rectangle
image | math | Simplify the expression
image | math | Compute the integral
image | math | find angle ABC
image | math | what is 12 * 7
image | math | この問題を解いて
image | math | 计算阴影部分的面积
image | open-ended | what's this
image | open-ended | Caption this image
image | open-ended | is he happy?
image | open-ended | what animal is that
image | open-ended | Which country is this?
image | open-ended | who painted this
image | open-ended | what is the cat looking at
image | open-ended | How do I fix this?
image | open-ended | can dogs eat this?
image | open-ended | explain the joke
image | open-ended | where is this
image | open-ended | 这是什么
image | open-ended | 何をしていますか
image | open-ended | What happened before the count started?
video | open-ended | what happens at the end
video | open-ended | describe what the man does when he finds the box
video | open-ended | Does the dog follow the cat?
video | open-ended | who finds the ball
video | open-ended | 为什么他笑了
image | open-ended | What color is the text?
image | open-ended | What language is the sign written in?
image | open-ended | what is the name of the shop
image | open-ended | Give me a caption for this photo
image | open-ended | Are there any cats?
image | open-ended | Who is the man, and where is he going?
image | open-ended | What is the man holding in the left hand?
image | open-ended | which one is bigger
image | open-ended | find the differences
image | open-ended | What is unusual about this image?
image | open-ended | how does this machine work
image | open-ended | what is the weather like
image | open-ended | what is on the table
image | open-ended | この料理は何ですか
image | open-ended | 这是什么动物
video | open-ended | What is he doing at 0:15?
video | open-ended | How did the dog get out?
video | open-ended | what part of the car is damaged
video | open-ended | where did they film this
video | open-ended | What is the order of the steps?
video | open-ended | what colour is the shirt of the man who jumps
image | spatial grounding | Find the biggest apple on the tree, thanks
image | spatial grounding | Any idea where the ball is?
image | spatial grounding | Show me where the exit is
image | spatial grounding | i'm trying to find the toilet
image | spatial grounding | circle the red one
image | spatial grounding | 左の犬を探して
image | spatial grounding | 请指出最大的苹果
video | spatial-temporal grounding | Find the dog that jumps over the fence
video | spatial-temporal grounding | after he falls, where is the ball?
video | temporal grounding | Hi! When does she start to sing?
video | temporal grounding | I'd like to know when the rocket launches.
video | temporal grounding | find when the light turns green
video | temporal grounding | when exactly is the cake cut
video | temporal grounding | which minute has the explosion
video | temporal grounding | In which part of the video does he swim?
video | temporal grounding | 他什么时候开始跑
video | tracking | Hey, could you follow the white horse?
video | tracking | 帮我跟踪那辆红车
image | segmentation | cut this dog out of the picture
image | segmentation | i want a mask for the bottle
image | segmentation | 花の輪郭を描いて
image | segmentation | 请把这个人分割出来
image | ocr | What is the text on the board?
image | ocr | What do these signs say
image | ocr | type out the receipt
image | ocr | 请读出图中的文字
image | ocr | 文字起こしして
image | numerical | howmany cats
image | numerical | Please tell me how many chairs are empty.
image | numerical | what is the ratio of men to women
image | numerical | in 2010, how many cars were sold
image | numerical | 这里有几个苹果
image | numerical | 窓の数を数えてください
image | regression | approximately how tall is that tower?
image | regression | what is the width of the desk in cm
image | regression | 这棵树有多高
image | regression | 彼は何歳ですか
image | math | What is the value of x?
image | math | find the length of the hypotenuse
image | math | solve it pls
image | open-ended | which side is longer
image | open-ended | what is the side of the road
image | open-ended | Show the differences
image | math | 求x的值
image | math | 2x + 3 = 7
image | math | what's the area of the shaded region?
"""


def rows(table):
    cells = ([cell.strip() for cell in line.split("|")] for line in table.strip().splitlines())
    return [pytest.param(question, medium, task, id=f"{medium}: {question}") for medium, task, question in cells]


@pytest.mark.parametrize(("question", "medium", "task"), [*rows(WRITTEN), *rows(HELD_OUT)])
def test_a_question_is_guessed_to_be_for_the_task_that_people_mean(question, medium, task):
    assert guess_task(question, medium) == task


@pytest.mark.parametrize("question", ["What is it?", "Where is the cat?", "how many", "segment the dog", ""])
def test_options_make_any_question_multiple_choice(question):
    assert guess_task(question, "image", options=["A. cat", "B. dog"]) == "multiple choice"
    assert guess_task(question, "video", options=["A. cat", "B. dog"], has_box=True) == "multiple choice"


@pytest.mark.parametrize("question", ["The white convertible", "Where does it go?", "car", "find the car", ""])
def test_a_box_in_a_video_is_tracked(question):
    assert guess_task(question, "video", has_box=True) == "tracking"
    assert guess_task(question, "image", has_box=True) != "tracking"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.problem_type} {'/'.join(rule.data_types)}")
def test_every_rule_names_a_task_that_takes_its_media(rule):
    for data_type in rule.data_types:
        assert find_task(rule.problem_type, data_type).problem_type == rule.problem_type
