//! One table of questions, and one answer to each, on both databases.

use std::collections::BTreeMap;

use notes::store::{self, MARK, PageSize, SearchQuery};

use super::{World, note, on_both, user};

on_both!(
    of notes::product:
    each_question_has_its_answer,
    no_question_finds_what_it_should_not);

/// What a note says, with marks where the passage has them, and questions that find it so.
const FOUND: &[(&str, &[&str])] = &[
    // Scripts without spaces, and Hangul with its particles.
    ("本周完成了**数据库**迁移", &["数据库", "\"数据库\""]),
    ("本周**完成**了数据**库迁移**", &["完成 库迁移"]),
    ("下周开始**迁移**", &["迁移"]),
    ("我喜欢喝**茶**。", &["茶"]),
    ("繁體中文的**筆記**本", &["筆記"]),
    ("使用**Python**编写**脚本**", &["python 脚本", "脚本 Python"]),
    ("版本**v2**发布", &["v2"]),
    ("**数据库v2**升级", &["数据库v2", "\"数据库V2\""]),
    ("**東京**タワーへ行く", &["東京"]),
    ("大阪**タワー**へ行く", &["タワー", "ﾀﾜｰ", "たわー"]),
    ("会議の**メモ**を共有する", &["メモ"]),
    ("**会議**の議事録", &["会議"]),
    ("**りんご**ジュース", &["りんご", "リンゴ"]),
    ("**ガラス**の靴", &["ガラス", "ｶﾞﾗｽ", "カ\u{3099}ラス"]),
    ("人々の**佐々木**さん", &["佐々木"]),
    ("어제 **회의**록을 썼다", &["회의"]),
    (
        "**데이터베이스**를 옮겼다",
        &["데이터베이스", "\u{1103}\u{1166}\u{110b}\u{1175}\u{1110}\u{1165}베이스"],
    ),
    ("오늘 **회**식이 있다", &["회"]),
    ("프로**젝트**에서 배운 것", &["젝트"]),
    ("ประชุมเรื่อง**ฐานข้อมูล**พรุ่งนี้", &["ฐานข้อมูล"]),
    ("แปล**ภาษาไทย**ให้เสร็จ", &["ภาษาไทย"]),
    ("ເມືອງ**ວຽງຈັນ**ງາມ", &["ວຽງຈັນ"]),
    ("ខ្ញុំរៀន**ភាសាខ្មែរ**រាល់ថ្ងៃ", &["ភាសាខ្មែរ"]),
    ("ខ្ញុំ\u{200b}**ស្រឡាញ់**\u{200b}ភ្នំពេញ", &["ស្រឡាញ់"]),
    ("ကျွန်တော်**မြန်မာ**စာသင်နေတယ်", &["မြန်မာ"]),
    // Scripts with spaces.
    ("Встреча в **Москве**", &["москве", "МОСКВЕ"]),
    ("Новогодняя **ёлка**", &["елка", "ёлка", "Е\u{308}ЛКА"]),
    ("Утренняя **йога**", &["йога", "И\u{306}ога"]),
    ("Зустріч у **Києві**", &["києві"]),
    ("Συνάντηση στην **Αθήνα**", &["αθηνα", "ΑΘΗΝΑ"]),
    ("Ο δρόμος, η **οδός**", &["οδος", "ΟΔΟΣ"]),
    ("פגישה עם **שרה** מחר", &["שרה"]),
    ("אמר **שָׁלוֹם** לכולם", &["שלום"]),
    ("اجتماع مع **محمد** غدا", &["محمد", "مُحَمَّد"]),
    ("كتب **أحمد** رسالة", &["احمد", "أحمد"]),
    ("ذهب إلى **المدرسة** مبكرا", &["المدرسه"]),
    ("جلسه درباره **کتاب** جدید", &["كتاب", "کتاب"]),
    ("من **می\u{200c}خواهم** بروم", &["میخواهم"]),
    ("कल **बैठक** है", &["बैठक"]),
    ("नया **बाज़ार** खुला", &["बाजार", "बाज़ार"]),
    ("আগামীকাল **সভা** আছে", &["সভা"]),
    ("நாளை **கூட்டம்** உள்ளது", &["கூட்டம்"]),
    ("ხვალ **შეხვედრა** მაქვს", &["შეხვედრა"]),
    ("Վաղը **հանդիպում** ունեմ", &["ՀԱՆԴԻՊՈՒՄ"]),
    ("ነገ **ስብሰባ** አለ", &["ስብሰባ"]),
    ("བོད་**སྐད**་སྦྱང", &["སྐད"]),
    // Accents and letters that only some keyboards have.
    ("Le **café** du coin", &["cafe", "CAFÉ", "cafe\u{301}"]),
    ("Un **cafe\u{301}** noir", &["café", "cafe"]),
    ("Fahrt nach **Zürich**", &["zurich", "ZÜRICH"]),
    ("Die **Straße** ist lang", &["strasse", "STRASSE", "straße"]),
    ("Ulica w **Łodzi**", &["lodzi", "łodzi"]),
    ("Et **smørrebrød** til frokost", &["smorrebrod"]),
    ("Une **œuvre** d’art", &["oeuvre"]),
    ("**İstanbul** gezisi", &["istanbul", "ISTANBUL"]),
    ("**Ilık** su", &["ilik", "ılık"]),
    ("**Đà Nẵng** mùa hè", &["\"da nang\""]),
    ("El **niño** duerme", &["nino"]),
    ("**Ærø** er en ø", &["aero"]),
    ("Příliš **žluťoučký** kůň", &["zlutoucky"]),
    ("**Þórsmörk** á Íslandi", &["thorsmork"]),
    ("Un **ﬁchier** joint", &["fichier"]),
    ("**ＡＢＣ** １２３", &["abc"]),
    ("ＤＥＦ **４５６**", &["456"]),
    ("Pua o **Hawai**ʻi", &["hawai"]),
    // Numbers and signs.
    ("Ticket **ABC**-1234", &["abc"]),
    ("Ticket XYZ-**5678**", &["5678"]),
    ("Ticket **QRS-9012**", &["QRS-9012", "\"qrs 9012\"", "qrs_9012"]),
    ("Price: $**1,299.99**", &["1,299.99", "$1,299.99"]),
    ("Half of **50**%", &["50%", "50"]),
    ("The year **٢٠٢٦**", &["2026"]),
    ("Version **1.22.333** is out", &["1.22.333"]),
    ("Call +49 **30** 901820", &["30"]),
    ("From **09:45** on", &["09:45", "\"09 45\""]),
    ("Area of 12 **m²**", &["m2"]),
    ("A **½** cup", &["½"]),
    ("On **2026-11-28** at noon", &["2026-11-28", "2026/11/28"]),
    ("§ **242** BGB", &["§242", "242"]),
    // Code.
    ("call **getUserName**() first", &["getUserName", "getusername()"]),
    ("let **max_retries** = 5;", &["max_retries", "max-retries"]),
    ("let min_**delay** = 5;", &["delay"]),
    ("std::**collections**::HashMap", &["collections"]),
    ("std::**sync::Arc**", &["sync::Arc"]),
    ("use **tokio::net** here", &["\"tokio net\""]),
    ("learn **C**++ and Go", &["C++", "c"]),
    ("if (**foo**.bar[0] != null)", &["foo"]),
    ("git commit --**amend**", &["amend", "\"--amend\""]),
    ("kubectl get **pods** -n kube-system", &["pod"]),
    ("SELECT * FROM **orders** WHERE id=7", &["orders"]),
    ("<b>**bold**</b> text", &["bold"]),
    ("`npm **install**`", &["install"]),
    ("{\"**key**\": \"value\"}", &["key"]),
    // URLs, paths, files, e-mail, mentions.
    ("the client/**server** model", &["server"]),
    ("the **client**/host model", &["client"]),
    ("lunch w/**Bob** today", &["bob"]),
    ("see **report**_final.pdf", &["report"]),
    ("see draft_**final**.docx", &["final"]),
    ("see notes_last.**xlsx**", &["xlsx"]),
    ("see **memo_old.txt**", &["memo_old.txt", "\"memo old txt\""]),
    ("https://**github**.com/rust-lang/rust", &["github"]),
    ("**https://gitlab.com/a/b?x=1#frag** works", &["https://gitlab.com/a/b?x=1#frag"]),
    ("www.example.org/**docs**/index.html", &["docs"]),
    ("http://localhost:**8080**/health", &["8080"]),
    ("http://127.0.0.1:9090/**metrics**", &["metrics"]),
    ("host **10.0.0.7** is down", &["10.0.0.7"]),
    ("write to **ada@example.com** soon", &["ada@example.com"]),
    ("write to eve@**sample**.net soon", &["sample"]),
    ("write to **carol**.smith@test.io", &["carol"]),
    ("/usr/local/**bin**/program", &["bin"]),
    ("C:\\**Windows**\\System32", &["windows"]),
    ("~/.**ssh**/config", &["ssh", "~/.ssh"]),
    ("#**urgent** call the bank", &["urgent", "#urgent"]),
    ("#follow-**up** tomorrow", &["up"]),
    ("ask @**dave** about it", &["dave", "@dave"]),
    ("a well-**known** fact", &["known"]),
    ("an **open-source** tool", &["open-source", "\"open source\""]),
    ("key:**value** pairs", &["value"]),
    ("either/**or**", &["\"or\""]),
    // Emoji.
    ("Ship it **🚀** now", &["🚀"]),
    ("Party**🎉**tonight", &["🎉"]),
    ("**Birthday** 🎂", &["birthday"]),
    ("Good **👍🏽** job", &["👍", "👍🏿"]),
    ("With **❤️** from us", &["❤", "❤\u{fe0f}"]),
    ("To **🇩🇪** and back", &["🇩🇪"]),
    // Quotes and apostrophes.
    ("She said “**hello** world”", &["hello"]),
    ("the **green tea** of today", &["\"green tea\"", "“green tea”", "«green tea»"]),
    ("the **black** and white **tea**", &["black tea", "tea black"]),
    ("I **don’t** know", &["don't", "don’t"]),
    ("**Bob’s** house", &["bob's"]),
    ("l’**eau** froide", &["eau"]),
    ("**O'Brien** called", &["O’Brien"]),
    ("'**quoted**' word", &["quoted", "'quoted'"]),
    ("5\" **disk** drive", &["disk"]),
    ("»**Zitat**« hier", &["zitat"]),
    // Operators, and what only looks like one.
    ("only **coffee** here", &["coffee or cocoa", "cocoa OR coffee", "coffee -cocoa"]),
    ("only **juice** there", &["juice -\"only here\"", "juice -lemonade -\"sour juice\""]),
    ("**one** AND **two**", &["one two", "two & one", "one | two"]),
    ("**plain** words", &["plain*", "^plain", "+plain", "(plain)", "plain!", "plain:"]),
    ("**salt** or **pepper**", &["salt or pepper", "pepper OR salt"]),
    ("not a **wildcard**", &["%wildcard%", "wildcard?"]),
    ("alpha **beta** gamma", &["beta -delta", "beta - -- ***"]),
    // Stop words and stems.
    ("**To be** or not", &["\"to be\""]),
    ("The **who** concert", &["who"]),
    ("this **and** that", &["\"and\""]),
    ("We were **meeting** often", &["meet", "meetings", "meeting"]),
    ("He **runs** daily", &["run", "running"]),
    ("Two **cherries** left", &["cherry"]),
    ("**Résumés** received", &["resume", "résumé"]),
    ("**organization** chart", &["organizations"]),
    ("soft **Daten\u{ad}bank** hyphen", &["datenbank"]),
];

/// What a note says, and a question that does not find it.
const MISSED: &[(&str, &str)] = &[
    ("本周完成了数据库迁移", "数库"),
    ("本周完成了数据库迁移", "移迁"),
    ("下周开始迁移", "数据库迁移"),
    ("東京タワーへ行く", "京都"),
    ("어제 회의록을 썼다", "의회"),
    ("แปลภาษาไทยให้เสร็จ", "ไทยภาษา"),
    ("Утренняя йога", "нога"),
    ("Le café du coin", "caf"),
    ("Fahrt nach Zürich", "zuerich"),
    ("the client/server model", "server/client"),
    ("the client/server model", "clientserver"),
    ("Ticket ABC-1234", "ABC-12"),
    ("Ticket ABC-1234", "1234-ABC"),
    ("see report_final.pdf", "report.pdf"),
    ("write to ada@example.com soon", "ada@com"),
    ("https://github.com/rust-lang/rust", "https://github.com/rust-lang/go"),
    ("Version 1.22.333 is out", "1.22.334"),
    ("the green tea of today", "\"tea green\""),
    ("the green tea of today", "green -tea"),
    ("the green tea of today", "-\"green tea\""),
    ("the green tea of today", "green coffee"),
    ("only coffee here", "-coffee"),
    ("only coffee here", "coffee -\"coffee here\""),
    ("Ship it 🚀 now", "🎉"),
    ("Ship it 🚀 now", "ship 🎂"),
    ("To be or not", "\"be to\""),
    ("plain words", "title:plain"),
    ("plain words", "plai*"),
    ("plain words", "… — \"\""),
    ("अब किताब लाओ", "कताब"),
];

async fn fill(world: &World) {
    let mut bodies: Vec<String> =
        FOUND.iter().map(|(marked, _)| marked.replace(MARK, "")).collect();
    bodies.extend(MISSED.iter().map(|(body, _)| (*body).to_owned()));
    bodies.sort();
    bodies.dedup();
    for body in bodies {
        // A title without a word.
        note(world, &user("ada"), "§", &body, &[]).await;
    }
}

/// The passage of each note that a question finds, by what the note says.
async fn answer(world: &World, question: &str) -> BTreeMap<String, String> {
    let words = SearchQuery::parse(question).unwrap();
    let (db, ada) = (world.app.db(), user("ada"));
    let hits = store::search(db, &ada, &words, PageSize::new(100).unwrap()).await.unwrap();
    hits.notes.into_iter().map(|hit| (hit.snippet.replace(MARK, ""), hit.snippet)).collect()
}

async fn each_question_has_its_answer(world: World) {
    fill(&world).await;
    let mut wrong = Vec::new();
    for (marked, questions) in FOUND {
        for question in *questions {
            let answer = answer(&world, question).await;
            let passage = answer.get(&marked.replace(MARK, ""));
            if passage.map(String::as_str) != Some(*marked) {
                wrong.push(format!("“{question}” in “{marked}”: {passage:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn no_question_finds_what_it_should_not(world: World) {
    fill(&world).await;
    for (body, question) in MISSED {
        let answer = answer(&world, question).await;
        assert_eq!(answer.get(*body), None, "{question}");
    }
}

#[test]
fn the_table_is_large_enough() {
    let cases = FOUND.iter().map(|(_, questions)| questions.len()).sum::<usize>() + MISSED.len();
    assert!(cases >= 150, "{cases}");
}

/// Each question is asked about all notes, also those that it was not written for.
#[tokio::test]
async fn both_databases_give_the_same_answers() {
    let (sqlite, postgres) =
        (World::sqlite(&notes::product()).await, World::postgres(&notes::product()).await);
    fill(&sqlite).await;
    fill(&postgres).await;
    let asked = FOUND.iter().flat_map(|(_, questions)| *questions);
    let mut found = 0;
    for question in asked.chain(MISSED.iter().map(|(_, question)| question)) {
        let expected = answer(&sqlite, question).await;
        assert_eq!(answer(&postgres, question).await, expected, "{question}");
        found += expected.len();
    }
    assert!(found > FOUND.len(), "{found}");
}
