"""What words tell about a line: parts of company names, of addresses, and of lines that are neither.

Generic words of English, Malay, German, French, Spanish, Italian, Dutch, Polish and Chinese; no name of any one
company.
"""

import re

LEGAL = re.compile(
    r"\b(?:sdn|bhd|berhad|s/b|plt|ltd|limited|llc|llp|inc|incorporated|corp|corporation|gmbh|mbh|ag|kg|ohg|ug|e\.?k|e\.v|kgaa|"
    r"b\.?v|n\.?v|s\.?a|s\.?a\.?s|sarl|s\.?r\.?l|s\.?p\.?a|s\.?l|pte|pvt|plc|pty|oy|ab|aps|a/s|spolka|se|a\.g|"
    r"sp\. ?z ?o\.?o)\b\.?|sdn\.?bhd|有限公司|股份公司|责任公司",
    re.IGNORECASE,
)
TRADE = re.compile(
    r"\b(?:co|company|enterprises?|trading|holdings?|group|restaurants?|restoran|kedai|cafe|coffee|bistro|bar|grill|hotel|"
    r"inn|stores?|mart|minimart|supermarket|hypermarket|market|shop|hardware|pharmacy|farmasi|clinic|bakery|bookstores?|"
    r"stationery|services?|industries|international|solutions?|kitchen|pizza|burger|foods?|boutique|salon|motors?|electrical|"
    r"electronics|auto|petrol|station|verein|versicherung|handel|bank|committee|association|foundation|university|"
    r"maison|boulangerie|moulin|ristorante|trattoria|venture|perniagaan|syarikat|pasar|machinery|engineering|furniture|"
    r"supplies|supply|garden|house|lounge|pub|tavern|deli|fashion|express|center|centre)\b|"
    r"(?:stationery|restaurant|hardware|enterprise|pharmacy|supermarket|trading|bakery|bookstore|mart)(?:s|shop|\b)|"
    r"公司|商店|酒店|餐厅|超市|集团|厂$|店$",
    re.IGNORECASE,
)
DOCUMENT = re.compile(
    r"\b(?:invoice|receipt|bill|tax|cash (?:bill|sales?|receipt|memo|invoice)|sales?|order|welcome|thank|thanks|"
    r"customer|copy|original|duplicate|date|time|table|cashier|rechnung|lieferschein|gutschrift|angebot|facture|avoir|factuur|factura|"
    r"statement|page|seite|delivery|credit|debit|slip|no\.?|nr\.?|number|member|reprint|guest|check|qty|item|description|"
    r"amount|price|total|sold|returnable|refund\w*|please|voucher|points|enquir\w+|formerly|contract|agreement|terminal|"
    r"merchant|visa|mastercard|approved|closed|open|server|hours?|visit|menge|preis|betrag|summe|self.?billed|purchase|"
    r"your|feedback|survey|enjoy|paid|received|approved|draft|urgent|bezahlt|erledigt|gebucht|geprüft|kopie|entwurf|eingegangen|"
    r"(?:waren)?eingang|sachl\w*|richtig|payé|reçu|pagado|recibido)\b|"
    r"发票|收据|小票|日期|欢迎|谢谢",
    re.IGNORECASE,
)
GLUED = re.compile(r"invoice|receipt|cashbill|taxinv|welcome|thank", re.IGNORECASE)
STREET = re.compile(
    r"\b(?:no|lot|jalan|jln|lorong|persiaran|lebuh|street|st|road|rd|avenue|ave|blvd|boulevard|drive|dr|lane|ln|way|hwy|"
    r"highway|floor|flr|level|unit|suite|ste|block|blk|building|bldg|plaza|mall|centre|center|tower|square|park|taman|"
    r"kampung|bandar|bdr|strasse|straße|str|weg|platz|allee|gasse|rue|place|cours|quai|straat|laan|via|calle|avenida|ul|"
    r"p\.?o\.? box|postfach|state|city|district|industrial|zone|kawasan|perindustrian|north|south|east|west|near|town|"
    r"seksyen|section|malaysia|singapore|selangor|kuala lumpur|johor|penang|france|deutschland|germany|usa)\b|"
    r"(?:straße|strasse|str\.|weg|platz|allee|gasse)\b|[省市区县镇路街道号楼室村]",
    re.IGNORECASE,
)
AWAY = re.compile(
    r"\b(?:tel|telephone|phone|ph|fax|hp|h/p|mobile|e-?mail|www|http|website|gst|sst|vat|tva|btw|tin|abn|acn|reg|roc|"
    r"co\.? ?no|company no|tax|invoice|receipt|bill|date|time|cashier|table|order|cash|doc|counter|pos|terminal|"
    r"item|qty|description|price|amount|total|rm|guest|customer|kvk|iban|bic|siret|siren|ust|ustid|steuernummer|hrb|rcs|bank|konto|"
    r"tél|telefon|telefax|thank|welcome|server|store|open)\b|@|\.com|电话|税号|传真",
    re.IGNORECASE,
)
CALL = re.compile(r"(?:\+?\(?[0-9][0-9 ()./-]{7,}[0-9])")
POSTCODE = re.compile(
    r"(?<![0-9A-Za-z(-])(?:[A-Z]{1,2}-)?[0-9]{4,6}(?:-[0-9]{4})?(?=[A-Z][A-Za-z]{2,}|$|[^0-9A-Za-z/-])|"
    r"\b[A-Z]{1,2}[0-9]{1,2}[A-Z]? ?[0-9][A-Z]{2}\b"
)
STATE_ZIP = re.compile(r"\b[A-Z]{2}[., ]*[0-9]{5}\b")
AMOUNT = re.compile(r"[0-9][.,][0-9]{2}(?![0-9])")
CLOCK = re.compile(r"\b[0-2]?[0-9]:[0-5][0-9]")
REGISTER = re.compile(r"\(?\s*(?:[A-Z]{0,3}[0-9]{5,12}\s?-?\s?[A-Z]?|[0-9]{4,7}\s?-\s?[A-Z])\s*\)?$")
WORD = re.compile(r"[^\W\d_]+|\d+")
KEY_END = re.compile(
    r"(?:姓名|名称|日期|时间|号码|编号|地址|单位|电话|意见|情况|性别|民族|籍贯|年龄|专业|学历|学位|职称|职务|职位|部门|签名|签字|盖章|"
    r"负责人|联系人|经办人|邮编|邮政编码|备注|院校|面貌|状况|住址|方式|类型|类别|性质|原因|内容|项目|金额|数量|学科|序号|关系|称谓)$|"
    r"\b(?:name|date|number|no|nr|type|address|phone|fax|title|signature|code|description|amount|nummer|datum|anschrift)\.?$",
    re.IGNORECASE,
)
